"""Names, notes and refusals of locks; their backends are tested elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.locks import HostLock, lock_name
from tests.golden import assert_golden, sections


def test_a_long_name_is_cut_and_still_its_own() -> None:
    long = "node-1." + "rack." * 12
    names = {lock_name(long + end) for end in ("a", "b")}
    assert len(names) == 2 and {len(name) for name in names} == {64}
    assert lock_name("node-1") == "gpu-passthrough-node-1"


def test_what_is_not_taken_is_not_lost(tmp_path: Path) -> None:
    lock(tmp_path, "nosuch://server").require()


def test_golden(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    texts = {
        "an unknown backend": refusal(tmp_path, "nosuch://u:secret@server"),
        "the state folder": refusal(tmp_path / "file", "file:///locks"),
    }
    with pytest.raises(errors.Unavailable) as caught:
        lock(tmp_path, f"file://{tmp_path}/file").check()
    texts["the backend's folder"] = str(caught.value)
    assert "secret" not in texts["an unknown backend"]
    text = sections(texts).replace(str(tmp_path), "TMP")
    assert_golden(Path(__file__).with_name("locks.txt"), text)


def test_a_check_creates_nothing(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/state/backend"
    lock(tmp_path / "state", url).check()
    assert not list(tmp_path.iterdir())
    (tmp_path / "state/backend").mkdir(parents=True)
    (tmp_path / "state/locks").mkdir()
    before = sorted(tmp_path.rglob("*"))
    lock(tmp_path / "state", url).check()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("folder", "backend"),
    [
        ("state", "file://{}/file"),
        ("state", "file://{}/file/below"),
        ("file", "file://{}/backend"),
        ("file/below", "file://{}/backend"),
        ("dangling", "file://{}/backend"),
        ("state", "file://relative"),
        ("state", "nosuch://server"),
    ],
)
def test_a_check_of_what_cannot_be_locked(
    tmp_path: Path, folder: str, backend: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(errors.Unavailable):
        lock(tmp_path / folder, backend.format(tmp_path)).check()
    assert sorted(tmp_path.rglob("*")) == before


def lock(folder: Path, url: str) -> HostLock:
    return HostLock(
        url,
        "node-1",
        folder=str(folder / "locks"),
        timeout_s=2,
        on_wait=pytest.fail,
    )


def refusal(folder: Path, url: str) -> str:
    with (
        pytest.raises(errors.Unavailable) as caught,
        lock(folder, url)(),
    ):
        pass
    return str(caught.value)
