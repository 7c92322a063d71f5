"""Copies of what files were, which something else wrote over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.functional.bootable import (
    GRUB,
    MENU,
    OTHER_MENU,
    Bootable,
    bootable,
)


@pytest.fixture
def host(tmp_path: Path) -> Bootable:
    return bootable(tmp_path)


@pytest.mark.parametrize("damage", ["init=/bin/sh", ""])
def test_a_damaged_copy_is_not_restored(host: Bootable, damage: str) -> None:
    """The rest is restored, and the copy kept for whoever mends the file."""
    before = host.snapshot()
    digest = hashlib.sha256(host.at(GRUB).read_bytes()).hexdigest()
    host.enable()
    ours = host.text(GRUB)
    (host.state / "enablement/kept" / digest).write_text(damage)
    host.said.clear()
    host.disable()
    assert host.text(GRUB) == ours
    (line,) = (line for line in host.said if line.startswith("the saved"))
    assert GRUB in line
    (aside,) = (host.state / "enablement/set-aside").iterdir()
    assert aside.read_text() == damage
    assert any(str(aside) in line for line in host.said)
    after = host.snapshot()
    names = {GRUB, MENU, OTHER_MENU}
    changed = {f"/{n}" for n in before if before[n] != after[n]}
    assert changed <= names
    assert host.is_clean()
