"""What works in the newest Python works in the oldest that is supported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gpu_passthrough_plugin

# Python before 3.11.5 goes on behind what such a group did not match in its
# last attempt; Debian 12 has 3.11.2.  Source: CPython issue 106052.
_POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[\d,]+\})\+")
_STRING = re.compile(r"""\br[bf]?(?:"{3}.*?"{3}|"(?:[^"\\\n]|\\.)*")""", re.S)


def possessive_groups(source: str) -> list[str]:
    """Return the patterns that repeat a group possessively."""
    strings: list[str] = _STRING.findall(source)
    return [text for text in strings if _POSSESSIVE_GROUP.search(text)]


def test_no_pattern_repeats_a_group_possessively() -> None:
    package = Path(gpu_passthrough_plugin.__path__[0])
    for path in package.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert possessive_groups(source) == [], path


@pytest.mark.parametrize(
    "source",
    [
        'A = re.compile(r"(?:a|b)*+")',
        'A = re.compile(rf"({B})++c")',
        "A = r'''x'''; B = r\"\"\"(?:a\\n|'b')?+\"\"\"",
        'A = rb"(a){2,3}+"',
    ],
)
def test_one_is_seen(source: str) -> None:
    assert len(possessive_groups(source)) == 1


def test_what_repeats_one_character_is_none() -> None:
    assert possessive_groups('A = r"[^\\n]*+(?>(?:a|b)*)\\)+"') == []
