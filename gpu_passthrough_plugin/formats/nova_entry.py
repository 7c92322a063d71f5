"""How Nova reads a JSON entry of ``[pci] alias`` or ``device_spec``.

Source: nova, pci/request.py and pci/whitelist.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.nova_release import Feature, Release

# Source: oslo.utils, strutils.py (bool_from_string).
_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_FALSE = frozenset({"0", "f", "false", "off", "n", "no"})
# A longer value is cut where a message shows it.
_SHOWN = 60

Expected = Callable[[object], str]
"""What is expected instead of a value; empty where the value is valid."""


class Key(NamedTuple):
    """A key of an entry, and under which conditions Nova reads it.

    :param expected: the check of its value.
    :param feature: what a release has to know; None if all releases do.
    :param is_for_placement: whether Nova reads it only where ``[pci]
        report_in_placement`` is on.
    """

    expected: Expected
    feature: Feature | None = None
    is_for_placement: bool = False

    def is_known(self, release: Release) -> bool:
        """Return whether a release of Nova knows the key."""
        return self.feature is None or release.knows(self.feature)


def load(text: str) -> object:
    """Return the JSON value that an option's text is.

    :raises Invalid: when it is not JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise errors.Invalid("the JSON is nested too deeply") from None
    except ValueError as error:
        raise errors.Invalid(f"not valid JSON ({error})") from error


def dump(entry: Mapping[str, object]) -> str:
    """Return an entry as one line of JSON, without keys that are None."""
    return json.dumps({k: v for k, v in entry.items() if v is not None})


def faults(
    entry: Mapping[str, object], keys: Mapping[str, Key]
) -> Iterator[str]:
    """Yield what is wrong with the values of known keys."""
    for name, value in entry.items():
        expected = keys[name].expected(value) if name in keys else ""
        if expected:
            yield not_valid(name, value, expected)


def not_valid(name: str, value: object, expected: str) -> str:
    """Return the message for a value that is not valid."""
    return f"{name} {shown(value)} is not valid; expected {expected}"


def shown(value: object) -> str:
    """Return a value as a message shows it: in one line, cut if long."""
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def text(value: object) -> str:
    """Check that a value is a text."""
    return "" if isinstance(value, str) else "a text in double quotes"


def one_of(values: Collection[str]) -> Expected:
    """Return a check that a value is one of these texts."""
    *most, last = values
    names = f"{', '.join(most)} or {last}" if most else last
    return lambda value: text(value) or ("" if value in values else names)


def yes_or_no(value: object) -> str:
    """Check that a value is a boolean as oslo.utils reads them, or null."""
    is_valid = value is None or _lowered(value) in _TRUE | _FALSE
    return "" if is_valid else "yes or no"


def boolean(value: object) -> bool | None:
    """Return the boolean that a value spells; None for null.

    :param value: one that ``yes_or_no`` takes.
    """
    return None if value is None else _lowered(value) in _TRUE


def spelled(value: bool | None) -> str | None:
    """Return a boolean as an entry spells it; None for None."""
    return None if value is None else ("yes" if value else "no")


def names(traits: str) -> tuple[str, ...]:
    """Return the names in a list of traits.

    Nova splits at commas and keeps spaces, and what is empty.
    Source: nova, compute/pci_placement_translator.py (get_traits).
    """
    return tuple(traits.split(",")) if traits else ()


def _lowered(value: object) -> str:
    return str(value).strip().lower()
