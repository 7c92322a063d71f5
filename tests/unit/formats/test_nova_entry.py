"""JSON entries of Nova's options: booleans as oslo.utils reads them."""

from __future__ import annotations

import pytest
from oslo_utils import strutils

from gpu_passthrough_plugin.formats import nova_entry

VALUES: list[object] = [
    "yes", "no", "Y", "N", "t", "F", "on", "off", "1", "0", " true ", "False",
    "", "2", "perhaps", "enabled", True, False, 1, 0, 2, 1.0, [], {}, ["yes"],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_booleans_are_read_as_oslo_utils_reads_them(value: object) -> None:
    try:
        expected = strutils.bool_from_string(value, strict=True)
    except ValueError:
        assert nova_entry.yes_or_no(value)
    else:
        assert not nova_entry.yes_or_no(value)
        assert nova_entry.boolean(value) is expected


def test_null_is_no_boolean() -> None:
    assert not nova_entry.yes_or_no(None)
    assert nova_entry.boolean(None) is None


def test_what_is_written() -> None:
    spelled = [nova_entry.spelled(value) for value in (True, False, None)]
    assert spelled == ["yes", "no", None]
    assert nova_entry.dump({"a": "b", "c": None}) == '{"a": "b"}'


def test_a_long_value_is_cut_and_stays_in_one_line() -> None:
    assert len(nova_entry.shown("z" * 10_000)) < 80
    assert nova_entry.shown("a\nb") == r"'a\nb'"
    assert nova_entry.shown(None) == "null"


def test_one_of_several() -> None:
    check = nova_entry.one_of(("a", "b", "c"))
    assert check("a") == ""
    assert check("d") == "a, b or c"
    assert check(["a"])
    assert nova_entry.one_of(("a",))("d") == "a"
