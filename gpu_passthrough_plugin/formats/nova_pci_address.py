"""How a device_spec names addresses.

Source: nova, pci/devspec.py (PciAddressGlobSpec, PciAddressRegexSpec).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.address import Address

ANY = "*"
_NAMES = ("domain", "bus", "slot", "function")
# The highest that each may be, and its digits.
_LIMITS = ((0xFFFF, 4), (0xFF, 2), (0x1F, 2), (0x7, 1))
_HEX = frozenset("0123456789abcdefABCDEF")
# What is tried here on texts of four letters has to end.
_LONGEST = 64
_MOST_REPEATS = 6
_REPEATS = re.compile(r"[*+?{]")
_LARGE_COUNT = re.compile(r"\{[^}]*\d\d")

Texts = tuple[str, str, str, str]


class Pattern(NamedTuple):
    """Which addresses a device_spec means.

    :param texts: of domain, bus, slot and function.
    :param regexes: of each, where they are regular expressions.
    :param is_plain: whether somebody wrote it without any wildcard below
        the domain, and so means one card.
    """

    texts: Texts
    regexes: tuple[re.Pattern[str], ...] | None
    is_plain: bool

    def matches(self, address: Address) -> bool:
        """Whether it means this one; never one of a domain above ffff."""
        if address.domain > _LIMITS[0][0]:
            return False
        return self.accepts(fields(address))

    def accepts(self, shown: Texts) -> bool:
        """Whether each part of an address fits; regexes at its start."""
        if self.regexes is not None:
            return all(map(_begins, self.regexes, shown))
        return all(map(_is, self.texts, shown))

    @property
    def single(self) -> str:
        """The one address that it spells out; empty for any other.

        Nova asks the host whether that is a physical function.
        """
        if not all(_HEX.issuperset(text) for text in self.texts):
            return ""
        return "{}:{}:{}.{}".format(*self.texts)


def _is(text: str, part: str) -> bool:
    return text in (ANY, part)


@functools.lru_cache(maxsize=4096)
def _begins(regex: re.Pattern[str], part: str) -> bool:
    """Whether it fits; a host's parts are few, and asked for again."""
    return regex.match(part) is not None


@functools.lru_cache(maxsize=4096)
def fields(address: Address) -> Texts:
    """The four parts as Nova spells them."""
    domain, bus, slot, function = address
    return f"{domain:04x}", f"{bus:02x}", f"{slot:02x}", f"{function:x}"


def everything() -> Pattern:
    """What a device_spec without an address means."""
    return Pattern((ANY, ANY, ANY, ANY), None, is_plain=False)


def parse(value: object) -> Pattern:
    """The pattern that an ``address`` is.

    :raises Invalid: when Nova would not start with it, or when it would
        take too long to try.
    """
    if not value:
        return everything()
    if isinstance(value, str):
        return _glob(value)
    if isinstance(value, dict):
        return _regex(value)
    raise errors.Invalid(f"address is {value!r}; wanted a text or an object")


def intricate(value: object) -> str:
    """Why an ``address`` is not looked at, though Nova may take it."""
    for name, text in value.items() if isinstance(value, dict) else ():
        if isinstance(text, str) and _is_intricate(text):
            return (
                f"{name} of address is too intricate to be tried; wanted a"
                f" regular expression of {_LONGEST} characters and"
                f" {_MOST_REPEATS} repetitions at most"
            )
    return ""


def _is_intricate(text: str) -> bool:
    return (
        len(text) > _LONGEST
        or len(_REPEATS.findall(text)) > _MOST_REPEATS
        or _LARGE_COUNT.search(text) is not None
    )


def hexadecimal(name: str, text: str, limit: int, digits: int) -> str:
    """The number as Nova writes it, or ``*``.

    :raises Invalid: when it is neither, or above the limit.
    """
    if text == ANY:
        return ANY
    try:
        number = int(text, 16)
    except ValueError:
        raise errors.Invalid(
            f"{name} is {text!r}; wanted hexadecimal digits or *"
        ) from None
    if number > limit:
        raise errors.Invalid(f"{name} is {text!r}; wanted {limit:x} at most")
    return f"{number:0{digits}x}"


def _glob(text: str) -> Pattern:
    """``[[[DOMAIN:]BUS:]SLOT][.FUNCTION]``; what is left out is any."""
    front, _, function = text.partition(".")
    parts = front.split(":")
    if len(parts) > 3:
        raise errors.Invalid(
            f"address is {text!r}; wanted DOMAIN:BUS:SLOT.FUNCTION"
        )
    parts = [ANY] * (3 - len(parts)) + [part.strip() or ANY for part in parts]
    parts.append(function.strip() if function else ANY)
    domain, bus, slot, function = (
        hexadecimal(name, part, *limit)
        for name, part, limit in zip(_NAMES, parts, _LIMITS, strict=True)
    )
    return Pattern((domain, bus, slot, function), None, ANY not in text)


def _regex(given: Mapping[str, object]) -> Pattern:
    texts = [given.get(name, ".*") for name in _NAMES]
    regexes = tuple(
        _compiled(name, text) for name, text in zip(_NAMES, texts, strict=True)
    )
    domain, bus, slot, function = (regex.pattern for regex in regexes)
    written = [str(given[name]) for name in _NAMES[1:] if name in given]
    is_plain = "bus" in given and all(map(_HEX.issuperset, written))
    return Pattern((domain, bus, slot, function), regexes, is_plain)


def _compiled(name: str, text: object) -> re.Pattern[str]:
    if not isinstance(text, str):
        raise errors.Invalid(f"{name} of address is {text!r}; wanted a text")
    if _is_intricate(text):
        raise errors.Invalid(f"{name} of address is too intricate")
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise errors.Invalid(
            f"{name} of address is {text!r}, no regular expression ({error})"
        ) from error
