"""Stages do not import one another, and only the edge opens doors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.layering import compositions, faults, house, leaks
from tests.architecture.planting import plant
from tests.architecture.reading import PACKAGE
from tests.architecture.rooms import ROOMS

CHECKOUT = Path(__file__).parents[2]
# Every room, each with nothing in it.
EMPTY = {
    (f"{room.replace('.', '/')}/__init__" if room else "__init__"): ""
    for room in ROOMS
}


def test_the_house_is_in_order() -> None:
    assert faults(CHECKOUT) == []


def test_every_room_is_there_and_declared() -> None:
    assert house(CHECKOUT) == []


def test_an_empty_house_has_every_room(tmp_path: Path) -> None:
    assert house(plant(tmp_path, EMPTY)) == []


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_missing_room_is_found(tmp_path: Path, room: str) -> None:
    name = room.replace(".", "/")
    # Without what is below it too.
    left = {
        path: text
        for path, text in EMPTY.items()
        if name and not path.startswith(f"{name}/")
    }
    assert f"{room}: no such room" in house(plant(tmp_path, left))


@pytest.mark.parametrize("module", ["vault/door", "vault"])
def test_a_room_that_is_not_declared_is_found(
    tmp_path: Path, module: str
) -> None:
    assert house(plant(tmp_path, {**EMPTY, module: ""})) == [
        "vault: not in ROOMS"
    ]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("flow/boot", "from PACKAGE.allocation.sql.ledger import SqlLedger"),
        ("flow/boot", "from PACKAGE.allocation import choice"),
        ("cli/hook", "def f():\n    import PACKAGE.allocation.sql.direct"),
        ("cli/hook", "from PACKAGE import allocation\nallocation.sql.x"),
        ("allocation/choice", "from PACKAGE.allocation.sql import rows"),
        ("allocation/choice", "from .sql import rows"),
        ("allocation/sql/a", "from PACKAGE.allocation.placement import b"),
        ("flow/enable", "from PACKAGE.enablement.bootloader import grub2"),
        ("enablement/plan", "from PACKAGE.enablement.initramfs import dracut"),
        ("enablement/load", "from .binding.address import AddressBinding"),
    ],
)
def test_an_import_past_a_contract_is_found(
    tmp_path: Path, module: str, source: str
) -> None:
    text = source.replace("PACKAGE", PACKAGE)
    assert leaks(plant(tmp_path, {module: text}))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("flow/boot", "from PACKAGE.allocation.driver import Driver"),
        ("cli/context", "from PACKAGE.allocation import load"),
        ("allocation/sql/a", "from PACKAGE.allocation.sql import rows"),
        ("allocation/sql/a", "from PACKAGE.allocation import choice"),
        ("flow/enable", "from PACKAGE.enablement.plan import plan"),
    ],
)
def test_a_contract_may_be_imported(
    tmp_path: Path, module: str, source: str
) -> None:
    text = source.replace("PACKAGE", PACKAGE)
    assert leaks(plant(tmp_path, {module: text})) == []


def test_a_command_that_composes_stages_is_found(tmp_path: Path) -> None:
    source = f"from {PACKAGE} import isolation, flow, model, conf\n"
    assert compositions(plant(tmp_path, {"cli/a": source})) == [
        f"{PACKAGE}/cli/a.py: imports isolation, not through flow"
    ]
    assert compositions(plant(tmp_path / "b", {"flow/a": source})) == []


def planted(root: Path, module: str, source: str) -> list[str]:
    """Return the faults of a package that is nothing but this one module."""
    return faults(plant(root, {module: source}))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("isolation/verdict", "from gpu_passthrough_plugin import discovery"),
        ("isolation/verdict", "from gpu_passthrough_plugin.nova import x"),
        ("isolation/verdict", "from .. import compute"),
        ("isolation/verdict", "from ..compute.plan import x"),
        ("isolation/verdict", "import gpu_passthrough_plugin.flow"),
        ("isolation/verdict", "from gpu_passthrough_plugin import conf"),
        (
            "compute/reset",
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n"
            "    from gpu_passthrough_plugin.host import vfio",
        ),
        ("isolation/verdict", "import os\nos.listdir('.')"),
        ("isolation/verdict", "import os as o\no.path.exists('.')"),
        ("isolation/verdict", "from os import path\npath.exists('.')"),
        ("isolation/verdict", "from os import listdir"),
        ("isolation/verdict", "def f():\n    import subprocess"),
        ("isolation/verdict", "from pathlib import Path"),
        ("isolation/verdict", "import urllib.request"),
        ("isolation/verdict", "open('x')"),
        ("isolation/verdict", "read = open"),
        ("isolation/verdict", "import libvirt"),
        ("isolation/verdict", "import importlib"),
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
    ],
)
def test_a_fault_is_found(tmp_path: Path, module: str, source: str) -> None:
    told = planted(tmp_path, module, source)
    assert told
    assert all(f.startswith(f"{PACKAGE}/{module}.py:") for f in told)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("isolation/verdict", "from gpu_passthrough_plugin.model import unit"),
        ("isolation/verdict", "from gpu_passthrough_plugin import errors"),
        ("isolation/verdict", "from gpu_passthrough_plugin import formats"),
        ("isolation/verdict", "from . import partition"),
        ("formats/modprobe", "from gpu_passthrough_plugin.model import x"),
        ("isolation/verdict", "import os\nos.path.join('a', 'b')"),
        ("isolation/verdict", "import urllib.parse, logging, time"),
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
