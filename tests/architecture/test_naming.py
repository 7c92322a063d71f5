"""Modules, parameters and locals have names that say something."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import naming
from tests.architecture.planting import plant


@pytest.mark.parametrize(
    "name",
    [
        "model/utils",
        "model/string_utils",
        "model/helper/x",
        "flow/verbs",
        "cli/cells",
        "flow/parts",
        "nova/pieces",
        "nova/words",
        "nova/terms",
        "flow/site",
    ],
)
def test_an_empty_name_is_found(tmp_path: Path, name: str) -> None:
    assert naming.empty_names(plant(tmp_path, {name: ""}))


@pytest.mark.parametrize("name", ["model/host_facts", "model/password"])
def test_other_names_are_not(tmp_path: Path, name: str) -> None:
    assert naming.empty_names(plant(tmp_path, {name: ""})) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f(found): pass",
        "def f(*, wanted=1): pass",
        "def f(*asked): pass",
        "def f(**said): pass",
        "async def f(of): pass",
        "def f():\n    known = 1",
        "def f():\n    a, (b, found) = x",
        "def f():\n    for found in x: pass",
        "def f():\n    return [found for found in x]",
        "def f():\n    with x as said: pass",
        "def f():\n    try: pass\n    except E as said: pass",
        "def f():\n    if (found := 1): pass",
        "def f():\n    return lambda found: 1",
        "def f():\n    match x:\n        case [found]: pass",
        "class A:\n    def f(self, of): pass",
    ],
)
def test_a_vague_name_is_found(tmp_path: Path, source: str) -> None:
    told = naming.vague_names(plant(tmp_path, {"model/x": source}))
    assert [len(lines) for lines in told.values()] == [1]
    assert list(told) == ["model"]


def test_each_function_counts_each_name_once(tmp_path: Path) -> None:
    source = (
        "def f(found, known):\n    found = 1\n"
        "    def g(found):\n        return found\n"
    )
    told = naming.vague_names(plant(tmp_path, {"model/x": source}))
    assert len(told["model"]) == 3


def test_other_uses_of_such_words_are_not_found(tmp_path: Path) -> None:
    source = (
        "from a import known\n\ndef f(a):\n    return known(a.found, of=1)\n"
    )
    assert naming.vague_names(plant(tmp_path, {"model/x": source})) == {}
