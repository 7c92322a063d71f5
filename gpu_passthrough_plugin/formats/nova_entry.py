"""JSON objects in options, and what is wrong with one."""

from __future__ import annotations

import json
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.finding import Finding, Status

# Source: oslo.utils, strutils.py (bool_from_string).
_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_FALSE = frozenset({"0", "f", "false", "off", "n", "no"})
_LONGEST = 240


class Fault(NamedTuple):
    """What Nova does not start with, unless its remedy says other."""

    place: str
    text: str
    remedy: str = "mend the entry: Nova does not start with it as it stands"

    def finding(self, check: str) -> Finding:
        """It as a finding; what a long value says is cut."""
        text = self.text
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]}…"
        return Finding(
            check,
            Status.FAIL,
            text,
            self.remedy,
            self.place,
        )


def loaded(text: str) -> object:
    """What the JSON says.

    :raises Invalid: when it is none.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise errors.Invalid("it is nested too deeply") from None
    except ValueError as error:
        raise errors.Invalid(f"it is not JSON ({error})") from error


def truth(name: str, value: object) -> bool | None:
    """Whether a value says yes; None where there is none.

    :raises Invalid: when it says neither yes nor no.
    """
    if value is None:
        return None
    said = str(value).strip().lower()
    if said in _TRUE | _FALSE:
        return said in _TRUE
    raise errors.Invalid(f"{name} is {value!r}; wanted yes or no")


def text(name: str, value: object) -> str:
    """The value, which has to be a text.

    :raises Invalid: when it is none, as a number without quotes.
    """
    if isinstance(value, str):
        return value
    raise errors.Invalid(
        f"{name} is {value!r}; wanted a text in double quotes"
    )
