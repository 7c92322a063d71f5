"""A card that is not in the host's selection file goes to nobody."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gpu_passthrough_plugin.cli import fastpath
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.main import main
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.discovery.pci_names import Names
from gpu_passthrough_plugin.flow import boot_state, host_snapshot, report
from gpu_passthrough_plugin.host.boot.journal import JournalStore
from gpu_passthrough_plugin.isolation import selection
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.change_history import (
    Enablement,
    History,
    Target,
)
from gpu_passthrough_plugin.model.redaction import Redaction
from tests.trees.seed import failed, seed

PATH = selection.PATH[1:]
KEPT, OTHERS = "0000:06:00.0", ("0000:82:00.0", "0000:83:00.0")
TEXT = f"# Only this one.\n[discovery]\nselect = {KEPT},\n  10de:ffff\n"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Options of a host whose file selects one of three cards."""
    host = seed()
    host.file(PATH, TEXT)
    host.write(tmp_path / "root")
    config = tmp_path / "gpu.conf"
    config.write_text(
        f"[DEFAULT]\nhost = c1\nstate_path = {tmp_path}/state\n"
        "[discovery]\nselect = 10de:1430\n"
    )
    return ["--root", str(tmp_path / "root"), "--config-file", str(config)]


def test_what_is_published_and_booted(words: list[str]) -> None:
    context = Context(words[1], None, [words[3]])
    snapshot = host_snapshot.read(context.tree, context.policy)
    units = [str(unit.key.address) for unit in snapshot.units("c1")]
    assert units == [KEPT]


def test_what_is_listed_and_given_to_nova(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "group", "list", "--assignable", "-f", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["Primary"] for row in listed] == [[KEPT]]
    assert main([*words, "nova", "config"]) == 0
    files = capsys.readouterr().out
    assert KEPT in files
    assert not [address for address in OTHERS if address in files]
    assert main([*words, "host", "verify", "-f", "json"]) in (0, 1)
    rows = json.loads(capsys.readouterr().out)
    assert {row["Address"][:10] for row in rows} >= {KEPT[:10]}


def test_a_recording_has_the_selection_of_its_host() -> None:
    host = seed()
    host.file(PATH, TEXT)
    recording = report.recording(host.tree(), Redaction())
    replayed = recorded_tree.parse(recording.content, "seed")
    contents = replayed.read(PATH)
    assert isinstance(contents, bytes)
    selectors = selection.parse(contents)
    assert selectors is not None
    assert [s.text for s in selectors] == [KEPT, "10de:ffff"]
    installation = boot_state.read_installation(replayed)
    assert installation.content(selection.PATH) == contents


def test_a_malformed_selection_stops_a_listing(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(words[1]) / PATH
    path.write_text("[discovery]\nselct = 10de:*\n")
    for command in (["group", "list"], ["host", "check"], ["nova", "config"]):
        assert main([*words, *command]) == 2
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count(PATH)) == ("", 1)
        assert f"{selection.PATH}:2: [discovery] selct" in captured.err


def listed(folder: Path, boot_id: str) -> dict[str, str]:
    """The column of a host of which two functions were enabled."""
    host = failed()
    host.file("proc/sys/kernel/random/boot_id", "second\n")
    config = folder / "gpu.conf"
    config.write_text(
        f"[DEFAULT]\nhost = c1\nstate_path = {folder}/state\n"
        "[discovery]\nselect = 06:00.0, 82:00.0\n"
    )
    targets = [
        Target(
            address.parse(f"0000:06:00.{n}"), 0x10DE, 0x1430, 0x030000, True
        )
        for n in range(2)
    ]
    enablement = Enablement(tuple(targets), "ids", (), boot_id, {})
    JournalStore(str(folder / "state/enablement")).write(History(enablement))
    context = Context("/", None, [str(config)])
    # Read instead of this machine.
    vars(context).update(tree=host.tree(), names=Names(()))
    return {str(row[0]): str(row[-1]) for row in fastpath.devices(context)}


@pytest.mark.skipif(os.geteuid() != 0, reason="the journal is root's")
@pytest.mark.parametrize(
    ("boot_id", "state"),
    [
        ("second", "enabled after reboot"),
        ("first", "enabled, not bound"),
        ("", "selected"),
    ],
)
def test_how_far_functions_are(
    tmp_path: Path, boot_id: str, state: str
) -> None:
    states = listed(tmp_path, boot_id)
    assert states[KEPT] == states["0000:06:00.1"] == state
    assert states["0000:82:00.0"] == states["0000:82:00.1"] == "selected"
    assert states["0000:83:00.0"] == states["0000:00:02.0"] == "not selected"


@pytest.mark.skipif(os.geteuid() != 0, reason="the journal is root's")
def test_a_journal_that_cannot_be_read_is_no_statement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "state/enablement/changes.json"
    journal.parent.mkdir(parents=True)
    journal.write_text("{")
    config = tmp_path / "gpu.conf"
    config.write_text(f"[DEFAULT]\nstate_path = {tmp_path}/state\n")
    assert fastpath.enablement(Context("/", None, [str(config)])) is None
    assert str(journal) in capsys.readouterr().err
