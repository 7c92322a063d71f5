"""The folder of a sandbox: whose it is, and what it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.sandbox_folder import Recording, SandboxFolder

ONE = Recording("one", "one.txt", b"1")


def _folder(path: Path, release: str = "1.0") -> SandboxFolder:
    return SandboxFolder(str(path), release, lambda _: None)


def _make(path: Path) -> SandboxFolder:
    folder = _folder(path)
    with folder.changing():
        folder.mark(folder.add([ONE]))
    return folder


def test_hosts_in_order(tmp_path: Path) -> None:
    folder = _make(tmp_path / "a")
    assert folder.hosts() == ("one",)
    with folder.changing():
        two = Recording("two", "two.txt", b"2")
        assert folder.add([two, ONE]) == ("two",)
        folder.mark(("one", "two"))
    assert _folder(tmp_path / "a").hosts() == ("one", "two")
    assert Path(folder.recording("two")).read_bytes() == b"2"


def test_one_that_was_not_finished_is_begun_again(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a")
    with folder.changing():
        folder.add([ONE])
    assert folder.hosts() == ()
    assert _make(tmp_path / "a").hosts() == ("one",)


def test_another_recording_of_a_host(tmp_path: Path) -> None:
    folder = _make(tmp_path / "a")
    with folder.changing(), pytest.raises(errors.Refused, match=r"other\.txt"):
        folder.add([Recording("one", "other.txt", b"3")])


def test_what_the_operator_wrote_stays(tmp_path: Path) -> None:
    folder = _make(tmp_path / "a")
    folder.keep(folder.config, "first")
    folder.keep(folder.config, "second")
    assert Path(folder.config).read_text() == "first"


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%b", "a\nb"])
def test_paths_that_no_url_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.Invalid, match="--sandbox"):
        _folder(tmp_path / name)


def test_folders_of_others(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "letter").touch()
    with (
        pytest.raises(errors.Invalid, match="not a sandbox"),
        _folder(tmp_path / "a").changing(),
    ):
        pass
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["letter"]
    (tmp_path / "b").touch()
    with (
        pytest.raises(errors.Invalid, match="Not a directory"),
        _folder(tmp_path / "b").changing(),
    ):
        pass
    (tmp_path / "c").mkdir()
    (tmp_path / "c").chmod(0o777)
    with (
        pytest.raises(errors.Invalid, match=r"others can write"),
        _folder(tmp_path / "c").changing(),
    ):
        pass


def test_other_releases(tmp_path: Path) -> None:
    folder = _make(tmp_path / "a")
    marker = tmp_path / "a" / "sandbox.json"
    text = marker.read_text()
    assert _folder(tmp_path / "a", "2.0").hosts() == ("one",)
    marker.write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(errors.Invalid, match=r"release 1\.0.*this is 2\.0"):
        _folder(tmp_path / "a", "2.0").hosts()
    marker.write_text("[]")
    with pytest.raises(errors.Invalid, match="damaged"):
        folder.hosts()
