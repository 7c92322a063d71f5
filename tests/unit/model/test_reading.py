"""Values as they are shown: what may not reach a terminal as it is."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from gpu_passthrough_plugin.model.reading import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\x9b31mb", r"a\x9b31mb"),
        ("gpu\u202e\u2066gpj", r"gpu\u202e\u2066gpj"),
        ("\u200b\ufeff\u2028\U000e0041", r"\u200b\ufeff\u2028\U000e0041"),
        ("\udcff\0\x7f\r", r"\udcff\x00\x7f\r"),
        ("Müller 猫 a\\b", "Müller 猫 a\\b"),
    ],
)
def test_what_commands_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_control_or_format_character_is_left() -> None:
    for number in range(sys.maxunicode + 1):
        char = chr(number)
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            assert printable(char).isascii()
            assert printable(char).isprintable()


def test_what_a_caller_keeps_stays() -> None:
    assert printable("\ta\x1b\n", keeps="\t") == "\ta\\x1b\\n"
