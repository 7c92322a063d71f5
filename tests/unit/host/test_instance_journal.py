from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.instance import Instance, Phase

UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
OTHER = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"
GPU = address.parse("06:00.0")
BOOTING = Instance(
    uuid=UUID,
    name="guest",
    request="gpu:1",
    phase=Phase.BOOTING,
    was_started=False,
    is_stopped=True,
    rebinds=(Rebind(GPU, Binding("nouveau", None), VFIO),),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "instances"


def test_what_was_written_is_read(folder: Path) -> None:
    journal = InstanceJournal(str(folder))
    assert journal.read(UUID) is None
    assert journal.instances() == ()
    journal.write(BOOTING)
    journal.write(Instance(OTHER))
    assert journal.read(UUID) == BOOTING
    assert journal.read(UUID.upper()) == BOOTING
    assert journal.has(UUID)
    assert not journal.has("0bbbbbbb-8d1f-4c8e-9a57-0d6b6e0f4a11")
    assert journal.instances() == (Instance(OTHER), BOOTING)
    journal.remove(UUID)
    journal.remove(UUID)
    assert journal.instances() == (Instance(OTHER),)


def test_what_cannot_be_read_is_there_all_the_same(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / f"{UUID}.json").write_text("{")
    assert InstanceJournal(str(folder)).has(UUID)


def test_whose_guests_commands_start(folder: Path) -> None:
    """libvirt starts those of attached domains; doubt is for a command."""
    journal = InstanceJournal(str(folder))
    assert not journal.is_commanded(UUID)
    for phase in Phase:
        journal.write(Instance(UUID, phase=phase))
        assert journal.is_commanded(UUID) is (phase is not Phase.ATTACHED)
    (folder / f"{UUID}.json").write_text("{")
    assert journal.is_commanded(UUID)


def test_nobody_else_may_read_it(folder: Path) -> None:
    InstanceJournal(str(folder)).write(BOOTING)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_file_that_was_half_written_is_not_looked_at(folder: Path) -> None:
    journal = InstanceJournal(str(folder))
    journal.write(BOOTING)
    (folder / f"{UUID}.json.new").write_text('{"format": 1, "uu')
    (folder / f"{OTHER}.json.new").write_text("")
    assert journal.instances() == (BOOTING,)
    journal.write(BOOTING)
    assert sorted(os.listdir(folder)) == [
        f"{OTHER}.json.new",
        f"{UUID}.json",
    ]


def changed(**fields: Any) -> str:
    document = {
        "format": 1, "uuid": UUID, "name": "", "request": "",
        "phase": "active", "keeps_claim": False, "was_started": True,
        "own": [], "cleaned": [], "rebinds": [],
    }  # fmt: skip
    return json.dumps(document | fields)


def test_what_an_earlier_release_wrote(folder: Path) -> None:
    """It knew of no guest that libvirt had told the end of."""
    folder.mkdir(parents=True)
    (folder / f"{UUID}.json").write_text(changed())
    found = InstanceJournal(str(folder)).read(UUID)
    assert found == Instance(UUID, phase=Phase.ACTIVE, is_stopped=False)


def test_what_is_no_journal_is_named(folder: Path) -> None:
    journal = InstanceJournal(str(folder))
    folder.mkdir(parents=True)
    path = folder / f"{UUID}.json"
    path.write_text(changed())
    assert journal.read(UUID) == Instance(UUID, phase=Phase.ACTIVE)
    for text in (
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        "[" * 100_000,
        '{"format": 1}',
        changed(format=2),
        changed(phase="lost"),
        changed(uuid=OTHER),
        changed(uuid=None),
        changed(own=["06:00"]),
        changed(own=[7]),
        changed(rebinds="x"),
        changed(rebinds=[{"address": "06:00.0", "was": ["a"]}]),
        changed(rebinds=[{"address": "06:00.0", "was": [], "becomes": []}]),
    ):
        path.write_text(text)
        for read in (lambda: journal.read(UUID), journal.instances):
            with pytest.raises(errors.Invalid) as caught:
                read()
            message = str(caught.value)
            assert message.startswith(f"{path} "), text[:40]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(errors.Invalid, match=str(path)):
        journal.read(UUID)


def test_only_a_uuid_becomes_part_of_a_path(
    folder: Path, tmp_path: Path
) -> None:
    journal = InstanceJournal(str(folder))
    journal.write(BOOTING)
    victim = tmp_path / "victim.json"
    victim.write_text(changed())
    for name in ("../../victim", str(tmp_path / "victim"), "", "x", "a/../b"):
        for act in (
            journal.read,
            journal.remove,
            lambda uuid: journal.write(Instance(uuid)),
        ):
            with pytest.raises(errors.Invalid, match=r"expected UUID\.json"):
                act(name)
    assert victim.exists()
    assert os.listdir(folder) == [f"{UUID}.json"]


def test_a_stranger_in_the_folder_is_named(folder: Path) -> None:
    journal = InstanceJournal(str(folder))
    journal.write(BOOTING)
    (folder / "notes.txt").write_text("mine")
    assert journal.instances() == (BOOTING,)
    (folder / "notes.json").write_text("{}")
    with pytest.raises(errors.Invalid, match="notes' "):
        journal.instances()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = InstanceJournal(str(tmp_path / "file" / "instances"))
    with pytest.raises(errors.Unavailable) as caught:
        journal.write(BOOTING)
    assert str(caught.value).startswith("cannot write the journal ")
    for act in (
        journal.instances,
        lambda: journal.read(UUID),
        lambda: journal.has(UUID),
    ):
        with pytest.raises(errors.Unavailable, match="cannot read the jour"):
            act()
    with pytest.raises(errors.Unavailable, match="cannot remove"):
        journal.remove(UUID)
