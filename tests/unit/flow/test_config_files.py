"""Files that are handed over: whose they are, and when they are replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import config_files
from gpu_passthrough_plugin.flow.config_files import ConfigFile
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import Action

CONF = ConfigFile("a.conf", "a service", "# For it.\n[pci]\n")
SCRIPT = ConfigFile("b.sh", "a shell", "#!/bin/sh -e\necho\n", mode=0o755)


def put(folder: Path, *which: ConfigFile) -> list[Action]:
    writes = config_files.planned(Files(), str(folder), which)
    config_files.put(Files(), writes)
    return [write.action for write in writes]


def test_a_mark_stands_first_or_behind_the_interpreter() -> None:
    first, rest = config_files.marked(CONF.text).split(b"\n", 1)
    assert first.startswith(b"# Written by 'gpu-passthrough nova config' (")
    assert rest == CONF.text.encode()
    lines = config_files.marked(SCRIPT.text).split(b"\n")
    assert lines[0] == b"#!/bin/sh -e"
    assert lines[1].startswith(b"# Written by ")
    assert lines[2:] == [b"echo", b""]


@pytest.mark.parametrize(
    "text", [CONF.text, SCRIPT.text, "", "#!\n", "\ud800"]
)
def test_only_what_nobody_edited_is_ours(text: str) -> None:
    data = config_files.marked(text)
    assert config_files.is_unedited(data)
    assert not config_files.is_unedited(data + b"#")
    assert not config_files.is_unedited(b"#\n" + data)
    assert not config_files.is_unedited(text.encode(errors="replace"))


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert put(folder, CONF, SCRIPT) == [Action.CREATE, Action.CREATE]
    was = {p.name: (p.read_bytes(), p.stat()) for p in folder.iterdir()}
    assert put(folder, CONF, SCRIPT) == [Action.KEEP, Action.KEEP]
    assert {p.name: (p.read_bytes(), p.stat()) for p in folder.iterdir()} == (
        was
    )
    assert (folder / "b.sh").stat().st_mode & 0o777 == 0o755
    assert (folder / "a.conf").stat().st_mode & 0o777 == 0o644


def test_ours_is_replaced(tmp_path: Path) -> None:
    put(tmp_path, CONF, SCRIPT)
    other = CONF._replace(text="[pci]\nalias = x\n")
    assert put(tmp_path, other, SCRIPT) == [Action.CHANGE, Action.KEEP]
    assert (tmp_path / "a.conf").read_bytes() == config_files.marked(
        other.text
    )


@pytest.mark.parametrize("theirs", [b"", b"[pci]\n", None])
def test_somebody_elses_is_not(tmp_path: Path, theirs: bytes | None) -> None:
    """An edited one is as good as theirs; the others stay as well."""
    put(tmp_path, CONF)
    path = tmp_path / "a.conf"
    path.write_bytes(
        path.read_bytes() + b"# x\n" if theirs is None else theirs
    )
    was = path.read_bytes()
    with pytest.raises(errors.Refused, match=str(path)):
        put(tmp_path, SCRIPT, CONF)
    assert path.read_bytes() == was
    assert not (tmp_path / "b.sh").exists()


def test_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "a.conf").mkdir()
    with pytest.raises(errors.ReadFailed, match=r"a\.conf"):
        put(tmp_path, CONF)
