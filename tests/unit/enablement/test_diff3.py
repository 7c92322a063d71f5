from __future__ import annotations

import pytest

from gpu_passthrough_plugin.enablement.diff3 import added, merged

LINE = b'TIMEOUT=5\nGRUB_CMDLINE_LINUX="%s"\nTERMINAL=console\n'


@pytest.mark.parametrize(
    ("left", "was", "now", "becomes"),
    [
        # In the order: after ours, before ours, between, first.
        (b"quiet a=on", b"quiet", b"quiet a=on x=1", b"quiet x=1"),
        (b"quiet a=on", b"quiet", b"quiet x=1 a=on", b"quiet x=1"),
        (b"q a=on b=pt", b"q", b"q a=on x b=pt", b"q x"),
        (b"quiet a=on", b"quiet", b"x=1 quiet a=on", b"x=1 quiet"),
        (b"a=on", b"", b"a=on x=1", b"x=1"),
        (b"a=on", b"", b"x=1 a=on", b"x=1"),
        # Some of ours, or of the original's, were taken out already.
        (b"quiet a=on", b"quiet", b"a=on", b""),
        (b"quiet a=on", b"quiet", b"quiet", b"quiet"),
        (b"quiet a=on", b"quiet", b"", b""),
        (b"q a=on b=pt", b"q", b"q b=pt", b"q"),
        (b"quiet a=on", b"quiet", b"splash a=on", b"splash"),
        # What was corrected becomes what it was.
        (b"q a=on", b"q a=off", b"q a=on x=1", b"q a=off x=1"),
        (b"q a=on", b"q a=off", b"q x=1 a=on", b"q x=1 a=off"),
        # Ours itself was changed.
        (b"q a=on", b"q", b"q a=on,sm_on", None),
        (b"q a=on", b"q a=off", b"q a=force", None),
        (b"q a=on b=pt", b"q", b"q a=on b=nopt", None),
    ],
)
def test_words_of_one_line(
    left: bytes, was: bytes, now: bytes, becomes: bytes | None
) -> None:
    merge = merged(LINE % left, LINE % was, LINE % now)
    assert merge == (None if becomes is None else LINE % becomes)


@pytest.mark.parametrize(
    ("left", "was", "now", "becomes"),
    [
        (b"a\nours\n", b"a\n", b"a\nours\nx\n", b"a\nx\n"),
        (b"a\nours\n", b"a\n", b"a\nx\nours\n", b"a\nx\n"),
        (b"ours\n", b"", b"ours\nx\n", b"x\n"),
        (b"ours\nb\n", b"b\n", b"x\nours\nb\ny\n", b"x\nb\ny\n"),
        (b"ours\n", b"", b"ours x\n", None),
        # Both in the same place: which comes first?
        (b"b\n", b"a\nb\n", b"x\nb\n", None),
        (b"b\nc\n", b"a\nb\nc\n", b"b\nc\nx\n", b"a\nb\nc\nx\n"),
        (b"", b"", b"x", b"x"),
        # A last line without an end is not glued to what came behind it.
        (b"\n", b"a", b"\nx", b"a\nx"),
    ],
)
def test_whole_lines(
    left: bytes, was: bytes, now: bytes, becomes: bytes | None
) -> None:
    assert merged(left, was, now) == becomes


def test_both_changes_stay_whatever_the_bytes_are() -> None:
    left, was = b"\xff\0\r\nours\r\n", b"\xff\0\r\n"
    assert merged(left, was, b"\xff\0\r\nours\r\nx\r\n") == b"\xff\0\r\nx\r\n"


def test_words_that_are_still_in_an_edited_file() -> None:
    was, left = b'A="quiet"\n', b'# a=on\nA="quiet a=on b=pt"\n'
    assert added(was, left, b'A="b=pt quiet a=on c"') == ("a=on", "b=pt")
    assert added(was, left, b"# b=pt\nA=a=on") == ()
    assert added(b"", b"x\xff y", b"y x\xff") == ("x�", "y")
