from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.boot import journal_format
from gpu_passthrough_plugin.host.boot.journal import JournalStore
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.change_history import (
    Attributes,
    ChangeKind,
    ChangeRecord,
    Enablement,
    FileBackup,
    FileState,
    History,
    Target,
)

DIGEST = hashlib.sha256(b"x").hexdigest()
ENTRY = FileState(
    DIGEST, Attributes(0o4755, 1, 2, 3, (("security.selinux", b"a\0\xff"),))
)
HISTORY = History(
    Enablement(
        (Target(address.parse("06:00.0"), 1, 2, 3, True, ("nouveau",)),),
        "ids",
        ("intel_iommu=on",),
        "boot",
        {"iommu": "intel"},
    ),
    (
        ChangeRecord(ChangeKind.WRITE, "modules", "/etc/x", True, ("/etc/x",)),
        ChangeRecord(ChangeKind.RUN, "menu", "a b", False, (), ("c", "d")),
        ChangeRecord(
            ChangeKind.BUILD,
            "image",
            "/boot/i",
            True,
            ("/boot/i",),
            (),
            "6",
            "in",
        ),
    ),
    {
        "/etc/x": FileBackup(None, ENTRY, "gone", embedded=("a",)),
        "/boot/i": FileBackup(ENTRY, ENTRY, DIGEST, "/boot/i.old", True),
    },
    ("/etc/a", "/etc/a/\udcff"),
    True,
)


@pytest.fixture
def changes(tmp_path: Path) -> JournalStore:
    return JournalStore(str(tmp_path / "state/enablement"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state/enablement"


def test_what_was_written_is_read(changes: JournalStore, folder: Path) -> None:
    assert changes.read() is None
    changes.write(HISTORY)
    changes.write(HISTORY)
    assert changes.read() == HISTORY
    assert os.listdir(folder) == ["changes.json"]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_contents_are_kept_once(
    changes: JournalStore, folder: Path, tmp_path: Path
) -> None:
    assert changes.kept(DIGEST) is None
    assert not changes.is_kept(DIGEST)
    source = tmp_path / "x"
    source.write_bytes(b"x")
    changes.keep_file(DIGEST, str(source))
    changes.keep(DIGEST, b"another")
    changes.keep_file(DIGEST, "/none")
    assert changes.kept(DIGEST) == b"x"
    assert changes.is_kept(DIGEST)
    assert Path(changes.copy(DIGEST)).read_bytes() == b"x"
    assert os.listdir(folder / "kept") == [DIGEST]
    assert Path(changes.copy(DIGEST)).stat().st_mode & 0o777 == 0o600


def test_a_copy_that_is_not_what_was_kept(
    changes: JournalStore, tmp_path: Path
) -> None:
    changes.keep(DIGEST, b"x")
    assert changes.damaged(DIGEST) is None
    Path(changes.copy(DIGEST)).write_bytes(b"y")
    assert not changes.is_kept(DIGEST)
    assert changes.kept(DIGEST) is None
    assert changes.damaged(DIGEST) == b"y"
    source = tmp_path / "x"
    source.write_bytes(b"x")
    changes.keep_file(DIGEST, str(source))
    assert changes.kept(DIGEST) == b"x"


def test_a_file_that_changes_while_it_is_kept(
    changes: JournalStore, tmp_path: Path
) -> None:
    source = tmp_path / "x"
    source.write_bytes(b"y")
    with pytest.raises(errors.Conflict, match=str(source)):
        changes.keep_file(DIGEST, str(source))
    assert not changes.is_kept(DIGEST)


def test_everything_is_forgotten_but_what_was_set_aside(
    changes: JournalStore, folder: Path
) -> None:
    changes.remove()
    changes.write(HISTORY)
    changes.keep(DIGEST, b"x")
    (folder / "changes.json.new").write_text("{")
    changes.remove()
    assert not folder.exists()
    changes.write(HISTORY)
    path = changes.set_aside("grub.cfg", DIGEST, b"x")
    changes.remove()
    changes.remove()
    assert Path(path).read_bytes() == b"x"
    assert path == f"{folder}/set-aside/grub.cfg-{DIGEST[:12]}"
    assert changes.read() is None


def changed(**fields: Any) -> str:
    found = json.loads(json.dumps(journal_format.written(HISTORY)))
    return json.dumps(found | fields)


def test_what_is_no_journal_is_named(
    changes: JournalStore, folder: Path
) -> None:
    folder.mkdir(parents=True)
    path = folder / "changes.json"
    path.write_text(changed())
    assert changes.read() == HISTORY
    entry: dict[str, Any] = {
        "digest": "../../x", "mode": 1, "uid": 0, "gid": 0, "mtime_ns": 0,
        "xattrs": {},
    }  # fmt: skip
    kept: dict[str, Any] = {
        "original": entry, "last_written": None, "pending": "",
        "backup_path": "",
        "is_lost": False, "embedded": [],
    }  # fmt: skip
    for text in (
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        changed(format=2),
        changed(files={}),
        changed(files={"/etc/x": kept}, records=[]),
        changed(
            files={"/etc/x": kept | {"original": entry | {"digest": "ab"}}}
        ),
        changed(files=[]),
        changed(records=[{"kind": "write"}]),
        changed(records=7),
        changed(folders="x"),
        changed(folders=[7]),
        changed(enablement=None),
        changed(enablement={"targets": [{"address": "x"}]}),
    ):
        path.write_text(text)
        with pytest.raises(errors.Invalid) as caught:
            changes.read()
        message = str(caught.value)
        assert message.startswith(f"{path} "), text[:40]
        assert "\n" not in message
    path.write_bytes(b"\xff")
    with pytest.raises(errors.Invalid, match=str(path)):
        changes.read()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    changes = JournalStore(str(tmp_path / "file/enablement"))
    match = "cannot save .*file/enablement"
    with pytest.raises(errors.Unavailable, match=match):
        changes.write(HISTORY)
    with pytest.raises(errors.Unavailable, match=match):
        changes.keep(DIGEST, b"x")
    with pytest.raises(errors.Unavailable, match=match):
        changes.keep_file(DIGEST, str(tmp_path / "file"))
    with pytest.raises(errors.Unavailable, match="cannot read the journal"):
        changes.read()


def test_nothing_is_noted_without_the_lock(folder: Path) -> None:
    """What is not noted is not done."""

    def lost() -> None:
        raise errors.Unavailable("the lock of h was lost")

    with pytest.raises(errors.Unavailable, match="was lost"):
        JournalStore(str(folder), lost).write(HISTORY)
    assert not folder.exists()
    JournalStore(str(folder)).write(HISTORY)
    assert JournalStore(str(folder), lost).read() == HISTORY
