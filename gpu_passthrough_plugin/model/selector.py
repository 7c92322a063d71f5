"""Selectors of functions: by ids, class or address, with wildcards."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.reading import Unknown

EXPECTED = (
    "expected VENDOR:PRODUCT, class=CLASS or [DOMAIN:]BUS:SLOT[.FUNCTION] in"
    " hexadecimal, with * and ?, such as 10de:*, class=0302, 0000:06:00.0 or"
    " 0000:06:00"
)

_CLASS = "class="
_PIECE = re.compile(r"[0-9a-f*?]+")
_ADDRESS = re.compile(r"(?:([^:.]+):)?([^:.]+):([^:.]+)(?:\.([^:.]+))?")
_SLOT = re.compile(r"[^:]+:[^:]+:[^:]+|[0-9a-f]{2}:[0-9a-f]{2}")
_PREFIX = re.compile(r"(^|[:=])0x")
_FUNCTIONS = frozenset("01234567*?")
_ANY = {"*": "[0-9a-f]*", "?": "[0-9a-f]"}


class SelectorKind(enum.StrEnum):
    """Which property of a function a selector is compared with."""

    IDS = "vendor and product"
    CLASS = "class"
    ADDRESS = "address"


class Selector(NamedTuple):
    """One entry of ``[discovery] select`` or ``exclude``.

    :param text: as the operator wrote it.
    """

    text: str
    kind: SelectorKind
    pattern: re.Pattern[str]

    def matches(self, function: Function) -> bool:
        """Return whether it selects the function; unknown ids never match."""
        shown = _SHOWN[self.kind](function)
        return shown is not None and self.pattern.fullmatch(shown) is not None


class SelectionState(enum.StrEnum):
    """How far a function is on its way to guests, the least first."""

    NOT_SELECTED = "not selected"
    SELECTED = "selected"
    PENDING = "enabled after reboot"
    UNBOUND = "enabled, not bound"
    ACTIVE = "active"

    @classmethod
    def least(cls, states: Iterable[SelectionState]) -> SelectionState:
        """Return the state of a group: that of its last selected function."""
        order = list(cls)
        selected = [state for state in states if state is not cls.NOT_SELECTED]
        return min(selected, key=order.index, default=cls.NOT_SELECTED)


class Enabled(NamedTuple):
    """What ``host enable`` last set up.

    :param is_this_boot: whether it was in the running boot, so that a reboot
        is needed; None where that is not known.
    """

    addresses: frozenset[Address]
    is_this_boot: bool | None


def parse(text: str) -> Selector:
    """Return the selector in ``text``, which may be in upper case.

    ``VVVV:PPPP`` are vendor and product; ``class=`` takes the base class,
    with subclass, and with interface (2, 4 or 6 digits); an address
    without a domain is in domain 0, and without a function is a whole slot.
    ``*`` stands for any digits of one part, ``?`` for one digit.  A number
    may begin with ``0x``.

    :raises Invalid: when ``text`` is none of these.
    """
    lowered = _PREFIX.sub(r"\1", text.strip().lower())
    if lowered.startswith(_CLASS):
        kind = SelectorKind.CLASS
        pattern = _class(lowered.removeprefix(_CLASS))
    elif "." in lowered or _SLOT.fullmatch(lowered):
        kind, pattern = SelectorKind.ADDRESS, _address(lowered)
    else:
        kind, pattern = SelectorKind.IDS, _ids(lowered)
    if pattern is None:
        raise errors.Invalid(f"{text!r} is not a valid selector; {EXPECTED}")
    return Selector(text.strip(), kind, re.compile(pattern))


def _ids(text: str) -> str | None:
    parts = text.split(":")
    if len(parts) != 2 or not all(_fits(part, 4) for part in parts):
        return None
    return ":".join(map(_glob, parts))


def _class(text: str) -> str | None:
    if not _fits(text, 2, 4, 6):
        return None
    is_whole = "*" in text or len(text) == 6
    return _glob(text if is_whole else f"{text}*")


def _address(text: str) -> str | None:
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    domain, bus, slot, function = match.groups()
    domain = "0000" if domain is None else domain
    function = "*" if function is None else function
    if not (
        _fits(domain, 4, 5, 6, 7, 8)
        and _fits(bus, 2)
        and _fits(slot, 2)
        and function in _FUNCTIONS
    ):
        return None
    if "*" not in domain and "?" not in domain:
        domain = f"{int(domain, 16):04x}"
    domain, bus, slot, function = map(_glob, (domain, bus, slot, function))
    return rf"{domain}:{bus}:{slot}\.{function}"


def _fits(part: str, *lengths: int) -> bool:
    """Return whether a number of one of these lengths can match it."""
    if not _PIECE.fullmatch(part):
        return False
    digits = len(part.replace("*", ""))
    return digits <= max(lengths) if "*" in part else digits in lengths


def _glob(part: str) -> str:
    return "".join(_ANY.get(letter, letter) for letter in part)


def _shown_ids(function: Function) -> str | None:
    vendor, product = function.vendor_id, function.product_id
    if isinstance(vendor, Unknown) or isinstance(product, Unknown):
        return None
    return f"{vendor:04x}:{product:04x}"


def _shown_class(function: Function) -> str | None:
    code = function.class_code
    return None if isinstance(code, Unknown) else f"{code:06x}"


def _shown_address(function: Function) -> str | None:
    return str(function.address)


_SHOWN: Mapping[SelectorKind, Callable[[Function], str | None]] = {
    SelectorKind.IDS: _shown_ids,
    SelectorKind.CLASS: _shown_class,
    SelectorKind.ADDRESS: _shown_address,
}
