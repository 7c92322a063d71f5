"""Tests mirror the package: each pure module is imported by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import mirror, rooms
from tests.architecture.planting import plant
from tests.architecture.reading import PACKAGE

CHECKOUT = Path(__file__).parents[2]
PURE = {"model/x": "A = 1\n"}


def test_what_is_not_pure_is_there() -> None:
    for name in (*rooms.NOT_PURE, *rooms.PURE):
        path = CHECKOUT / PACKAGE / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize(
    "test",
    [
        {},
        {"tests/unit/test_x.py": f"from {PACKAGE}.model import y\n"},
        {"tests/unit/test_x.py": f"from {PACKAGE} import model\n"},
        {"tests/functional/test_x.py": f"from {PACKAGE}.model import x\n"},
    ],
)
def test_a_module_without_a_test_is_found(
    tmp_path: Path, test: dict[str, str]
) -> None:
    (told,) = mirror.untested(plant(tmp_path, PURE | test))
    assert told.startswith(f"{PACKAGE}/model/x.py:")


@pytest.mark.parametrize(
    "files",
    [
        PURE | {"tests/unit/test_x.py": f"from {PACKAGE}.model import x\n"},
        PURE
        | {"tests/unit/m/test_x.py": f"from {PACKAGE}.model.x import A\n"},
        PURE | {"tests/property/test_x.py": f"import {PACKAGE}.model.x\n"},
        PURE
        | {"tests/unit/a.py": f"from {PACKAGE} import model\nmodel.x.A\n"},
        {"model/__init__": '"""Nothing."""\n'},
        {"host/x": "A = 1\n"},
        {"allocation/sql/x": "A = 1\n"},
    ],
)
def test_other_modules_are_not(tmp_path: Path, files: dict[str, str]) -> None:
    assert mirror.untested(plant(tmp_path, files)) == []
