"""PCI vendor and product ids in text: ``vvvv`` and ``vvvv:pppp``."""

from __future__ import annotations

import re

from gpu_passthrough_plugin import errors

EXPECTED = "4 hexadecimal digits without 0x"

_ID = re.compile(r"[0-9a-fA-F]{4}")


def parse(text: str) -> int:
    """Return the id that four hexadecimal digits spell, in any case.

    :raises Invalid: for anything else.
    """
    if not _ID.fullmatch(text):
        raise errors.Invalid(f"{text!r} is not a PCI id; expected {EXPECTED}")
    return int(text, 16)


def text(number: int) -> str:
    """Return an id as four lower-case hexadecimal digits."""
    return f"{number:04x}"


def pair(vendor_id: int | None, product_id: int | None) -> str:
    """Return ``vvvv:pppp``, with ``*`` for any id."""
    return ":".join(
        "*" if number is None else text(number)
        for number in (vendor_id, product_id)
    )
