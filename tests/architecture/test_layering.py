"""Stages do not import one another, and only the edge opens doors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.layering import faults
from tests.architecture.reading import PACKAGE
from tests.architecture.rooms import STAGES

CHECKOUT = Path(__file__).parents[2]


def test_the_house_is_in_order() -> None:
    assert faults(CHECKOUT) == []


def test_the_house_is_not_empty() -> None:
    rooms = {path.name for path in (CHECKOUT / PACKAGE).iterdir()}
    assert {"model", "conf", *STAGES & rooms} <= rooms
    assert "isolation" in rooms


def planted(root: Path, module: str, source: str) -> list[str]:
    """The faults of a package that is nothing but this one module."""
    path = root / PACKAGE / f"{module}.py"
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    return faults(root)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("isolation/rules", "from gpu_passthrough_plugin import discovery"),
        ("isolation/rules", "from gpu_passthrough_plugin.release import x"),
        ("isolation/rules", "from .. import compute"),
        ("isolation/rules", "from ..compute.plan import x"),
        ("isolation/rules", "import gpu_passthrough_plugin.flow"),
        ("isolation/rules", "from gpu_passthrough_plugin import conf"),
        (
            "release/clean",
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n"
            "    from gpu_passthrough_plugin.host import vfio",
        ),
        ("isolation/rules", "import os\nos.listdir('.')"),
        ("isolation/rules", "import os as o\no.path.exists('.')"),
        ("isolation/rules", "from os import path\npath.exists('.')"),
        ("isolation/rules", "from os import listdir"),
        ("isolation/rules", "def f():\n    import subprocess"),
        ("isolation/rules", "from pathlib import Path"),
        ("isolation/rules", "import urllib.request"),
        ("isolation/rules", "open('x')"),
        ("isolation/rules", "read = open"),
        ("isolation/rules", "import libvirt"),
        ("isolation/rules", "import importlib"),
        ("compute/domain", "import libvirt"),
        ("allocation/search", "import sqlalchemy"),
        ("discovery/tree", "import os\nos.unlink('x')"),
        ("discovery/tree", "import os\nos.open('x', os.O_RDWR)"),
        ("discovery/tree", "open('x', 'w')"),
        ("discovery/tree", "open('x', mode='r+b')"),
        ("discovery/tree", "mode = 'w'\nopen('x', mode)"),
        ("discovery/tree", "from pathlib import Path"),
        ("model/unit", "import logging"),
        ("model/unit", "import os"),
        ("model/unit", "from gpu_passthrough_plugin import isolation"),
        ("model/unit", "from gpu_passthrough_plugin.formats import x"),
        ("formats/modprobe", "import os\nos.listdir('.')"),
        ("formats/modprobe", "from gpu_passthrough_plugin import isolation"),
        ("formats/modprobe", "import sqlalchemy"),
        ("errors", "import os"),
        ("conf/database", "import oslo_db.sqlalchemy"),
        ("conf/database", "import sqlalchemy"),
        ("host/locks", "import sqlalchemy"),
        ("host/locks", "from gpu_passthrough_plugin.compute import plan"),
        ("flow/boot", "import os\nos.stat('x')"),
        ("cli/device", "import tooz"),
        ("vault/door", "import re"),
        ("release/utils", "import re"),
    ],
)
def test_a_fault_is_found(tmp_path: Path, module: str, source: str) -> None:
    found = planted(tmp_path, module, source)
    assert found
    assert all(f.startswith(f"{PACKAGE}/{module}.py:") for f in found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("isolation/rules", "from gpu_passthrough_plugin.model import unit"),
        ("isolation/rules", "from gpu_passthrough_plugin import errors"),
        ("isolation/rules", "from gpu_passthrough_plugin import formats"),
        ("isolation/rules", "from . import displays"),
        ("formats/modprobe", "from gpu_passthrough_plugin.model import x"),
        ("isolation/rules", "import os\nos.path.join('a', 'b')"),
        ("isolation/rules", "import urllib.parse, logging, time"),
        ("discovery/tree", "import os\nos.open('x', os.O_RDONLY)"),
        ("discovery/tree", "open('x', 'rb')\nopen('y', encoding='utf-8')"),
        ("allocation/sql/ledger", "from sqlalchemy import select"),
        ("allocation/sql/ledger", "from ..driver import Driver"),
        ("host/locks", "import os, fcntl, tooz\nos.unlink('x')"),
        ("flow/boot", "from gpu_passthrough_plugin import compute, host"),
        ("model/unit", "import dataclasses\nfrom collections.abc import Set"),
    ],
)
def test_what_is_allowed_passes(
    tmp_path: Path, module: str, source: str
) -> None:
    assert planted(tmp_path, module, source) == []
