"""Modules are subjects: neither scraps of one importer nor heaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import grain
from tests.architecture.planting import plant
from tests.architecture.reading import PACKAGE, modules

CHECKOUT = Path(__file__).parents[2]
USES = f"from {PACKAGE}.model import x\n"
SMALL = "import re\n" * 59
LARGE = "import re\n" * 60
ENTRY = f"[entry_points]\nnamespace =\n    a = {PACKAGE}.model.x:A\n"


def test_every_exception_is_needed() -> None:
    assert grain.reasons_without_need(CHECKOUT) == []


def test_entry_points_are_modules() -> None:
    entered = grain.entry_points(CHECKOUT)
    names = [n.replace(".", "/") for n in entered]
    assert len(names) > 20
    for name in names:
        path = CHECKOUT / PACKAGE / name
        assert path.is_dir() or path.with_suffix(".py").is_file()


def test_a_long_module_is_found(tmp_path: Path) -> None:
    plant(tmp_path, {"model/x": "\n" * 401, "model/y": "\n" * 400})
    (told,) = grain.too_long(tmp_path)
    assert told.startswith(f"{PACKAGE}/model/x.py: 401 lines")


def test_a_long_test_is_found(tmp_path: Path) -> None:
    plant(tmp_path, {"tests/unit/test_x.py": "\n" * 401})
    (told,) = grain.tests_too_long(tmp_path)
    assert told.startswith("tests/unit/test_x.py: 401 lines")


@pytest.mark.parametrize(
    "importer",
    [
        USES,
        f"from {PACKAGE}.model.x import A\n",
        f"import {PACKAGE}.model.x\n",
        f"def f():\n    from {PACKAGE}.model.x import A\n",
        "from . import x\n",
        "from .x import A\n",
    ],
)
def test_a_small_module_with_one_importer_is_found(
    tmp_path: Path, importer: str
) -> None:
    plant(tmp_path, {"model/x": SMALL, "model/y": importer})
    assert [f for f in grain.too_small(tmp_path) if "/x.py" in f]


@pytest.mark.parametrize(
    "files",
    [
        {"model/x": LARGE, "flow/a": USES},
        {"model/x": SMALL, "flow/a": USES, "flow/b": USES},
        {"model/x": SMALL},
        {"model/x": SMALL, "flow/a": USES, "setup.cfg": ENTRY},
        {"model/x/__init__": SMALL, "flow/a": USES},
    ],
)
def test_other_modules_are_not(tmp_path: Path, files: dict[str, str]) -> None:
    assert grain.too_small(plant(tmp_path, files)) == []


@pytest.mark.parametrize("name", ["model.x", "model"])
def test_an_exception_holds_while_it_is_needed(
    tmp_path: Path, name: str
) -> None:
    reasons = {name: "because"}
    plant(tmp_path, {"model/x": SMALL, "flow/a": USES})
    assert grain.too_small(tmp_path, reasons) == []
    assert grain.reasons_without_need(tmp_path, reasons) == []
    plant(tmp_path, {"flow/b": USES})
    modules.cache_clear()
    assert grain.reasons_without_need(tmp_path, reasons) == [
        f"{name}: in SMALL for nothing"
    ]


def test_modules_are_counted_without_packages(tmp_path: Path) -> None:
    plant(tmp_path, {"model/__init__": "", "model/x": "", "model/y": ""})
    assert len(grain.module_count(tmp_path)) == 2


def test_lines_of_code_are_no_comments_and_no_docstrings(
    tmp_path: Path,
) -> None:
    documented = '"""Two\n\nlines."""\n# a\n\n\n'
    source = f'{documented}def f():\n    """d"""\n    return (\n1)\n'
    plant(tmp_path, {"model/x": source})
    (module,) = modules(tmp_path)
    assert module.code_lines == 3
