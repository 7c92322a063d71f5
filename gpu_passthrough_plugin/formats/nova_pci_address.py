"""How a device_spec names addresses: a glob, or regular expressions.

Source: nova, pci/devspec.py (PciAddressGlobSpec, PciAddressRegexSpec).
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.nova_entry import not_valid
from gpu_passthrough_plugin.model.address import Address

ANY = "*"
_ANY_REGEX = ".*"
_NAMES = ("domain", "bus", "slot", "function")
# The highest number that each may be, and its digits.
_LIMITS = ((0xFFFF, 4), (0xFF, 2), (0x1F, 2), (0x7, 1))
_HEX = frozenset("0123456789abcdefABCDEF")
# Regular expressions are tried on texts of up to four letters; these bounds
# keep that from taking longer than an instant.
_MAX_REGEX = 64
_MAX_REPEATS = 6
_REPEATS = re.compile(r"[*+?{]")
_LARGE_COUNT = re.compile(r"\{[^}]*\d\d")

Texts = tuple[str, str, str, str]


class AddressPattern(NamedTuple):
    """Which addresses a device_spec means.

    :param texts: of domain, bus, slot and function, each hexadecimal
        digits or ``*``; or regular expressions, where ``regexes`` has them.
    """

    texts: Texts = (ANY, ANY, ANY, ANY)
    regexes: tuple[re.Pattern[str], ...] | None = None

    @property
    def is_everything(self) -> bool:
        """Return whether it matches every address."""
        return {*self.texts} <= {ANY, _ANY_REGEX}

    @property
    def single(self) -> str:
        """Return the address if it matches only one, else "".

        Nova asks the host whether that is a physical function.
        """
        if not all(_HEX.issuperset(text) for text in self.texts):
            return ""
        return "{}:{}:{}.{}".format(*self.texts)

    @property
    def value(self) -> str | dict[str, str]:
        """Return the pattern as a value of ``address``."""
        if self.regexes is not None:
            return dict(zip(_NAMES, self.texts, strict=True))
        return "{}:{}:{}.{}".format(*self.texts)

    def matches(self, address: Address) -> bool:
        """Return whether it matches; never a domain above ffff."""
        if address.domain > _LIMITS[0][0]:
            return False
        return self.matches_texts(fields(address))

    def matches_texts(self, texts: Texts) -> bool:
        """Return whether each part of an address fits.

        A regular expression has to match from the start, not to the end.
        """
        if self.regexes is not None:
            return all(map(_matches_start, self.regexes, texts))
        return all(map(_matches_text, self.texts, texts))


EVERYTHING = AddressPattern()
"""What a device_spec without an address means."""


def _matches_text(text: str, part: str) -> bool:
    return text in (ANY, part)


# A host's parts are few, and asked for again and again.
@functools.lru_cache(maxsize=4096)
def _matches_start(regex: re.Pattern[str], part: str) -> bool:
    return regex.match(part) is not None


@functools.lru_cache(maxsize=4096)
def fields(address: Address) -> Texts:
    """Return the four parts as Nova spells them."""
    domain, bus, slot, function = address
    return f"{domain:04x}", f"{bus:02x}", f"{slot:02x}", f"{function:x}"


def exactly(address: Address) -> AddressPattern:
    """Return the pattern that matches one address.

    Of a physical function Nova matches the virtual functions as well.
    """
    return AddressPattern(fields(address))


def parse(value: object) -> AddressPattern:
    """Return the pattern that the value of ``address`` is.

    :raises Invalid: when Nova would not start with it, or when it would
        take too long to try.
    """
    if not value:
        return EVERYTHING
    if isinstance(value, str):
        return _glob(value)
    if isinstance(value, dict):
        return _regexes(value)
    expected = "a text, or an object of regular expressions"
    raise errors.Invalid(not_valid("address", value, expected))


def too_intricate(value: object) -> str:
    """Return why a value is not tried, though Nova may take it, or nothing."""
    for name, text in value.items() if isinstance(value, dict) else ():
        if isinstance(text, str) and _is_intricate(text):
            return (
                f"address {name} is too intricate to be tried: a regular"
                f" expression may have {_MAX_REGEX} characters and"
                f" {_MAX_REPEATS} repetitions"
            )
    return ""


def _is_intricate(text: str) -> bool:
    return (
        len(text) > _MAX_REGEX
        or len(_REPEATS.findall(text)) > _MAX_REPEATS
        or _LARGE_COUNT.search(text) is not None
    )


def hexadecimal(name: str, text: str, limit: int) -> int | None:
    """Return the number that Nova reads, or None for ``*``.

    Nova reads what Python's ``int`` reads: in any case, with ``0x``, a sign
    or underscores.

    :raises Invalid: when it is neither, or above the limit.
    """
    if text == ANY:
        return None
    try:
        number = int(text, 16)
    except ValueError:
        expected = f"hexadecimal digits or {ANY}"
        raise errors.Invalid(not_valid(name, text, expected)) from None
    if number > limit:
        raise errors.Invalid(not_valid(name, text, f"{limit:x} or less"))
    return number


def _glob(text: str) -> AddressPattern:
    """Read ``[[[DOMAIN:]BUS:]SLOT][.FUNCTION]``; what is left out is any."""
    front, _, function = text.partition(".")
    parts = front.split(":")
    if len(parts) > 3:
        expected = "DOMAIN:BUS:SLOT.FUNCTION"
        raise errors.Invalid(not_valid("address", text, expected))
    parts = [ANY] * (3 - len(parts)) + [part.strip() or ANY for part in parts]
    parts.append(function.strip() if function else ANY)
    domain, bus, slot, function = (
        _part(name, part, *limit)
        for name, part, limit in zip(_NAMES, parts, _LIMITS, strict=True)
    )
    return AddressPattern((domain, bus, slot, function))


def _part(name: str, text: str, limit: int, digits: int) -> str:
    number = hexadecimal(f"address {name}", text, limit)
    return ANY if number is None else f"{number:0{digits}x}"


def _regexes(value: Mapping[str, object]) -> AddressPattern:
    regexes = tuple(
        _compiled(name, value.get(name, _ANY_REGEX)) for name in _NAMES
    )
    domain, bus, slot, function = (regex.pattern for regex in regexes)
    return AddressPattern((domain, bus, slot, function), regexes)


def _compiled(name: str, text: object) -> re.Pattern[str]:
    name = f"address {name}"
    if not isinstance(text, str):
        raise errors.Invalid(not_valid(name, text, "a text"))
    if _is_intricate(text):
        raise errors.Invalid(f"{name} is too intricate to be tried")
    try:
        with warnings.catch_warnings():
            # Of what a later Python may read in another way, as in "[[0]".
            warnings.simplefilter("ignore")
            return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        expected = f"a regular expression ({error})"
        raise errors.Invalid(not_valid(name, text, expected)) from error
