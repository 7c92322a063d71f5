"""Files of oslo.config's: values, their places, and lines that are wrong."""

from __future__ import annotations

import pytest
from oslo_config import types

from gpu_passthrough_plugin.formats import oslo_config_file
from gpu_passthrough_plugin.formats.oslo_config_file import Value


def read(text: str) -> tuple[list[Value], list[str]]:
    faults: list[str] = []
    values = oslo_config_file.read("a.conf", text.encode(), faults)
    return list(values), faults


def test_a_value_of_several_lines_has_the_place_of_its_first() -> None:
    values, faults = read(
        "# c\n[PCI]\nx = 1\n    2\n; c\n\ny:'3'\n[DEFAULT]\nz="
    )
    assert values == [
        Value("pci", "x", "a.conf:3", "1\n2"),
        Value("pci", "y", "a.conf:7", "3"),
        Value("DEFAULT", "z", "a.conf:9", ""),
    ]
    assert not faults


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("[pci\n", [1]),
        ("[]\nfoo\n= x\n", [1, 2, 3]),
        ("[pci]\n\n  a = b\nc = d\n", [3]),
        ("a = b\n", [1]),
        ("a = b\n  c\n[pci]\nd = e\n", [1]),
        ("[x]\na\n[y\nb = c\nd\n", [2, 3, 5]),
    ],
)
def test_every_line_that_is_wrong_is_reported(
    text: str, lines: list[int]
) -> None:
    _, faults = read(text)
    places = [fault.split(" ")[0] for fault in faults]
    assert places == [f"a.conf:{number}:" for number in lines]


def test_what_comes_after_a_wrong_line_is_read() -> None:
    values, _ = read("[x]\nfoo\na = b\n  c\n\n  d\ne = f\n")
    assert [(v.option, v.text) for v in values] == [("a", "b\nc"), ("e", "f")]


@pytest.mark.parametrize(
    "data",
    [
        b"[pci]\nalias = \xff\n",
        b"#" * (oslo_config_file.MAX_BYTES + 1),
        b"\x00" * 100,
        b"[" * 10_000,
    ],
    ids=["latin", "huge", "zeros", "brackets"],
)
def test_what_is_no_configuration_is_one_short_line(data: bytes) -> None:
    faults: list[str] = []
    assert not oslo_config_file.read("a.conf", data, faults)
    (fault,) = faults
    assert fault.startswith("a.conf:")
    assert "\n" not in fault
    assert len(fault) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("ON", True), ("1", True), ("No", False), ("0", False)],
)
def test_booleans(text: str, expected: bool) -> None:
    assert oslo_config_file.boolean(text) is expected


@pytest.mark.parametrize("text", ["y", "t", "", "enabled", " yes", "2"])
def test_what_is_no_boolean_though_json_entries_have_it(text: str) -> None:
    with pytest.raises(ValueError, match="boolean"):
        oslo_config_file.boolean(text)


def test_lists_and_choices() -> None:
    assert oslo_config_file.names(" A, B,") == ("A", "B")
    assert oslo_config_file.names("") == ()
    read = oslo_config_file.one_of(("a", "b"))
    assert read("b") == "b"
    with pytest.raises(ValueError, match="a, b"):
        read("B")


@pytest.mark.parametrize(
    "text", ["", ",", " , ", "a,", "a,,", "a,,b", " a , b ", "a\nb,\nc", '"a"']
)
def test_lists_are_those_of_oslo_config(text: str) -> None:
    assert list(oslo_config_file.names(text)) == types.List()(text)
