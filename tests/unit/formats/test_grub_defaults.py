"""GRUB's defaults and their drop-ins."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import grub_defaults
from gpu_passthrough_plugin.formats.grub_defaults import (
    CMDLINE,
    CMDLINE_DEFAULT,
    CommandLines,
    DefaultsFile,
    UnevaluatedLine,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.installation import Installation

DROP_IN = f"{grub_defaults.FOLDER}/50-site.cfg"


def host(**texts: str) -> Installation:
    files = {path: text.encode() for path, text in texts.items()}
    folder = tuple(
        path.rpartition("/")[2]
        for path in files
        if path.startswith(grub_defaults.FOLDER)
    )
    return Installation(files, {}, {grub_defaults.FOLDER: folder}, {}, ())


def test_drop_ins_come_after_the_main_file_where_they_are_read() -> None:
    installation = host(
        **{DROP_IN: "A=1\n", grub_defaults.PATH: "B=2\n", "/etc/x.cfg": "C=3"}
    )
    main = DefaultsFile(grub_defaults.PATH, "B=2\n")
    drop_in = DefaultsFile(DROP_IN, "A=1\n")
    files = grub_defaults.files
    assert files(installation, has_drop_ins=True) == (main, drop_in)
    assert files(installation, has_drop_ins=False) == (main,)
    assert files(host(), has_drop_ins=True) == ()


def test_the_command_lines() -> None:
    lines = grub_defaults.command_lines(
        (
            DefaultsFile("/a", f'{CMDLINE}="a=\'x  y\' \\"b\\""\n'),
            DefaultsFile("/b", f'{CMDLINE_DEFAULT}="quiet ${CMDLINE}"\n'),
        )
    )
    assert lines == CommandLines(
        ("a='x", "y'", '"b"'), ("quiet", "a='x", "y'", '"b"')
    )


@pytest.mark.parametrize(
    ("texts", "path", "line"),
    [
        ((f"{CMDLINE}=$(x)", ""), "/0", f"{CMDLINE}=$(x)"),
        (("", f"{CMDLINE_DEFAULT}=`x`"), "/1", f"{CMDLINE_DEFAULT}=`x`"),
        ((f"{CMDLINE}=a", ". x"), "/1", ". x"),
        (("A=$(x)", f"{CMDLINE}=$A"), "/1", f"{CMDLINE}=$A"),
        ((f"{CMDLINE}=(a)", "A=b"), "/0", CMDLINE),
    ],
)
def test_the_file_and_line_that_make_it_unclear(
    texts: tuple[str, ...], path: str, line: str
) -> None:
    files = [DefaultsFile(f"/{n}", text) for n, text in enumerate(texts)]
    found = grub_defaults.command_lines(files)
    assert found == UnevaluatedLine(path, line)


def test_both_kinds_of_entries_count() -> None:
    on = Requirements(("a=1",), ("b=0",))
    assert CommandLines(("a=1",), ("quiet",)).satisfy(on)
    assert not CommandLines((), ("a=1",)).satisfy(on)
    assert not CommandLines(("a=1",), ("b=0",)).satisfy(on)
