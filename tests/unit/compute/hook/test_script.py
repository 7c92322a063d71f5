"""The hook's program: what it lets through, and whose it is."""

from __future__ import annotations

import types
from typing import Any

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.hook import document, script
from tests.unit.compute.hook.test_document import HOSTDEV, LAUGHS, domain

TERMS = script.Terms(
    python="/opt/gpu-passthrough/bin/python3",
    packages="/opt/gpu-passthrough/lib/python3.11/site-packages",
    options=("--config-file", "/etc/a.conf"),
    known={"format": 1, "host": 'it\'s "{one}"'},
)


def program(terms: script.Terms = TERMS) -> Any:
    """The program's names, as when it is asked for no step of a life."""
    found = types.ModuleType("hook")
    exec(script.script(terms), found.__dict__)  # noqa: S102 - our own text
    return found


def test_it_is_a_program_that_knows_its_terms() -> None:
    text = script.script(TERMS)
    first, _ = text.split(b"\n", 1)
    assert first == b"#!/opt/gpu-passthrough/bin/python3 -IS"
    made = program()
    assert TERMS.known == made.KNOWN
    assert TERMS.options == made.OPTIONS


@pytest.mark.parametrize(
    "text",
    [
        domain(""),
        domain("<disk type='file'><source file='/dev/nvme0n1'/></disk>"),
        domain("", rest="<title>Müller &amp; Söhne</title>"),
    ],
)
def test_what_is_let_through_has_no_function(text: str) -> None:
    assert program().is_free_of_functions(text.encode())
    assert document.guest(text.encode(), "g").functions == {}


@pytest.mark.parametrize(
    "text",
    [
        domain().encode(),
        domain("<disk type='nvme'/>").encode(),
        domain('<disk type="nvme"/>').encode(),
        domain("<disk type='&#110;vme'/>").encode(),
        domain("", rest="<q:arg value='vfio-pci,host=06:00.0'/>").encode(),
        f"<!DOCTYPE domain [{LAUGHS}]>{domain('&l9;')}".encode(),
        domain("", rest="<![CDATA[ ]]>").encode(),
        domain("").encode("utf-16"),
        domain("").encode("utf-16-le"),
        domain("").encode("utf-32-be"),
        f"<?xml version='1.0' encoding='cp037'?>{domain('')}".encode("cp037"),
        b"",
        b"\n<domain/>",
    ],
)
def test_whatever_may_hide_one_is_looked_at(text: bytes) -> None:
    assert not program().is_free_of_functions(text)


def test_ours_is_told_from_others_and_from_what_was_edited() -> None:
    text = script.script(TERMS)
    assert script.is_ours(text)
    assert not script.is_ours(text + b"\n")
    assert not script.is_ours(text.replace(b'"prepare"', b'"started"'))
    for other in (b"", b"#!/bin/sh\nexit 0\n", b"\n\n\n", text[:80]):
        assert not script.is_ours(other)


@pytest.mark.parametrize(
    "python", ["/opt/with blank/python3", f"/{'x' * 130}/python3"]
)
def test_what_no_kernel_runs_is_refused(python: str) -> None:
    terms = script.Terms(python, "/p", (), {})
    with pytest.raises(errors.Invalid, match="cannot run a script"):
        script.script(terms)


def test_every_word_of_a_function_is_looked_for() -> None:
    for word in ("hostdev", "'nvme'", '"nvme"', "vfio"):
        assert word.encode() in program().WORDS
    assert b"hostdev" in HOSTDEV.encode()
