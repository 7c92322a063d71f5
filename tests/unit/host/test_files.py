from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import host_path
from gpu_passthrough_plugin.host.files import Files

PATH = "/etc/modprobe.d/vfio.conf"
TIME_NS = 1_600_000_000_123_456_789
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "etc").mkdir()
    return Files(str(tmp_path))


def at(files: Files, path: str) -> Path:
    return Path(files.root) / path.removeprefix("/")


def names(files: Files, folder: str) -> list[str]:
    return sorted(os.listdir(at(files, folder)))


def test_a_new_file_and_its_folders(files: Files) -> None:
    assert files.entry(PATH) is None
    assert files.read(PATH) is None
    assert files.size(PATH) is None
    assert files.missing(PATH) == ("/etc/modprobe.d",)
    assert files.missing("/a/b/c") == ("/a", "/a/b")
    mask = os.umask(0o077)
    try:
        files.put(PATH, b"x\n", 0o755)
    finally:
        os.umask(mask)
    entry = files.entry(PATH)
    assert entry is not None
    assert entry.digest == hashlib.sha256(b"x\n").hexdigest()
    assert entry.attributes.mode == 0o755
    assert stat.S_IMODE(at(files, "/etc/modprobe.d").stat().st_mode) == 0o755
    assert (files.read(PATH), files.size(PATH)) == (b"x\n", 2)
    assert names(files, "/etc/modprobe.d") == ["vfio.conf"]
    assert files.missing(PATH) == ()


@root_only
def test_a_file_that_is_there_keeps_all_but_its_contents(
    files: Files,
) -> None:
    path = at(files, "/etc/grub")
    path.write_bytes(b"old")
    os.setxattr(path, "user.label", b"\0a")
    os.chown(path, 12, 34)
    path.chmod(0o4640)
    was = files.entry("/etc/grub")
    files.put("/etc/grub", b"new")
    now = files.entry("/etc/grub")
    assert was is not None
    assert now is not None
    assert now.attributes._replace(mtime_ns=0) == was.attributes._replace(
        mtime_ns=0
    )
    assert path.read_bytes() == b"new"
    assert now.attributes.xattrs == (("user.label", b"\0a"),)


@root_only
def test_what_it_was_is_restored_with_its_time(
    files: Files, tmp_path: Path
) -> None:
    path = at(files, "/etc/grub")
    path.write_bytes(b"old")
    os.setxattr(path, "user.label", b"a")
    os.chown(path, 12, 34)
    path.chmod(0o444)
    os.utime(path, ns=(TIME_NS, TIME_NS))
    was = files.entry("/etc/grub")
    assert was is not None
    assert was.attributes.mtime_ns == TIME_NS
    kept = tmp_path / "kept"
    kept.write_bytes(b"old")
    path.unlink()
    path.write_bytes(b"new")
    os.setxattr(path, "user.other", b"b")
    files.restore("/etc/grub", str(kept), was)
    assert files.entry("/etc/grub") == was
    files.remove("/etc/grub")
    files.restore("/etc/grub", str(kept), was)
    assert files.entry("/etc/grub") == was


def test_what_is_not_the_original_is_not_restored(
    files: Files, tmp_path: Path
) -> None:
    files.put("/etc/grub", b"old")
    was = files.entry("/etc/grub")
    assert was is not None
    files.put("/etc/grub", b"new")
    kept = tmp_path / "kept"
    for contents in (b"", b"olde", b"xld", b"old" * (1 << 20)):
        kept.write_bytes(contents)
        with pytest.raises(errors.Conflict, match=str(kept)):
            files.restore("/etc/grub", str(kept), was)
    assert files.read("/etc/grub") == b"new"
    assert names(files, "/etc") == ["grub"]


def test_through_a_link_the_file_behind_it_changes(files: Files) -> None:
    at(files, "/etc/default").mkdir()
    at(files, "/etc/default/grub").write_bytes(b"old")
    for name, target in (
        ("relative", "default/grub"),
        ("absolute", "/etc/default/grub"),
        ("chain", "./relative"),
        ("escape", "../../../../../etc/default/grub"),
    ):
        link = at(files, f"/etc/{name}")
        os.symlink(target, link)
        assert files.real(f"/etc/{name}") == "/etc/default/grub"
        files.put(f"/etc/{name}", name.encode())
        assert os.readlink(link) == target
        assert at(files, "/etc/default/grub").read_bytes() == name.encode()
    assert names(files, "/etc/default") == ["grub"]
    files.remove("/etc/chain")
    assert not at(files, "/etc/default/grub").exists()
    files.put("/etc/chain", b"again")
    assert at(files, "/etc/default/grub").read_bytes() == b"again"


def test_a_folder_that_is_a_link(files: Files) -> None:
    at(files, "/etc/vendor").symlink_to("/usr/lib/vendor")
    files.put("/etc/vendor/x", b"x")
    assert at(files, "/usr/lib/vendor/x").read_bytes() == b"x"
    assert at(files, "/etc/vendor").is_symlink()


def test_links_that_go_round(files: Files) -> None:
    at(files, "/etc/a").symlink_to("b")
    at(files, "/etc/b").symlink_to("a")
    for act in (
        files.entry,
        files.read,
        files.remove,
        lambda path: files.put(path, b""),
    ):
        with pytest.raises(errors.Unavailable, match=r"^/etc/a "):
            act("/etc/a")


def test_a_relative_path(files: Files) -> None:
    with pytest.raises(errors.Invalid, match=r"^'etc/x' "):
        files.read("etc/x")


def test_what_is_no_file(files: Files) -> None:
    at(files, "/etc/folder").mkdir()
    os.mkfifo(at(files, "/etc/pipe"))
    for path in ("/etc/folder", "/etc/pipe"):
        for act in (
            files.entry,
            files.read,
            lambda path: files.put(path, b""),
        ):
            with pytest.raises(errors.ReadFailed, match=f"^{path} "):
                act(path)
    files.put("/etc/file", b"x")
    assert files.entry("/etc/file/below") is None
    with pytest.raises(errors.Unavailable) as caught:
        files.put("/etc/file/below", b"")
    assert str(caught.value) == "cannot write /etc/file/below: File exists"


def test_a_read_only_file_is_replaced_and_stays_so(files: Files) -> None:
    files.put("/etc/x", b"old", 0o444)
    files.put("/etc/x", b"new")
    assert stat.S_IMODE(at(files, "/etc/x").stat().st_mode) == 0o444


def test_what_a_killed_process_left_is_no_obstacle(files: Files) -> None:
    beside = at(files, "/etc/.x.gpu-passthrough-new")
    beside.write_bytes(b"half")
    files.put("/etc/x", b"new")
    assert names(files, "/etc") == ["x"]
    beside.symlink_to("x")
    files.sweep("/etc/x")
    files.sweep("/etc/y")
    files.sweep("/none/y")
    assert names(files, "/etc") == ["x"]


def test_a_second_path_for_a_file(files: Files) -> None:
    files.put("/etc/image", b"one", 0o600)
    for _ in range(2):
        files.keep("/etc/image", "/etc/image.old")
        assert at(files, "/etc/image.old").samefile(at(files, "/etc/image"))
    files.put("/etc/image", b"two")
    assert at(files, "/etc/image.old").read_bytes() == b"one"
    files.keep("/etc/image", "/etc/image.old")
    assert at(files, "/etc/image.old").read_bytes() == b"two"
    assert names(files, "/etc") == ["image", "image.old"]


def test_a_file_takes_anothers_place(files: Files) -> None:
    files.put("/etc/image", b"one")
    files.put("/etc/new", b"two")
    files.move("/etc/new", "/etc/image")
    assert files.read("/etc/image") == b"two"
    files.keep("/etc/image", "/etc/old")
    # Two names of one file: rename(2) does nothing then.
    files.move("/etc/old", "/etc/image")
    assert names(files, "/etc") == ["image"]
    with pytest.raises(errors.Unavailable, match="cannot replace /etc/image"):
        files.move("/etc/none", "/etc/image")


def test_an_image_gets_the_attributes_of_the_one_before(files: Files) -> None:
    files.put("/etc/image", b"one", 0o600)
    os.utime(at(files, "/etc/image"), ns=(TIME_NS, TIME_NS))
    files.put("/etc/new", b"two", 0o644)
    like = files.entry("/etc/image")
    assert like is not None
    files.dress("/etc/new", like.attributes)
    now = files.entry("/etc/new")
    assert now is not None
    assert now.attributes.mode == 0o600
    assert now.attributes.mtime_ns != TIME_NS


def test_a_folder_is_forgotten_when_empty(files: Files) -> None:
    files.put("/etc/a/x", b"")
    files.forget("/etc/a")
    assert names(files, "/etc") == ["a"]
    files.remove("/etc/a/x")
    files.remove("/etc/a/x")
    files.forget("/etc/a")
    files.forget("/etc/a")
    assert names(files, "/etc") == []


def test_room(files: Files, tmp_path: Path) -> None:
    device, free = files.free_bytes("/not/there/yet")
    assert device == tmp_path.stat().st_dev
    assert free > 0


def test_sha1(files: Files) -> None:
    files.put("/etc/x", b"x")
    assert files.sha1("/etc/x") == hashlib.sha1(b"x").hexdigest()  # noqa: S324
    assert files.sha1("/etc/y") == ""


@root_only
@pytest.mark.parametrize("target", ["/etc/secret", "../etc/none", "etc"])
def test_a_link_of_another_user_is_not_followed(
    files: Files, target: str
) -> None:
    files.put("/etc/secret", b"old")
    folder = at(files, "/etc").parent / "theirs"
    folder.mkdir()
    (folder / "etc").mkdir()
    link = folder / "file"
    link.symlink_to(target)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    acts: tuple[Callable[[], object], ...] = (
        lambda: files.put("/theirs/file", b"new"),
        lambda: files.put("/theirs/file/inner", b"new"),
        lambda: files.read("/theirs/file"),
        lambda: files.remove("/theirs/file"),
        lambda: files.move("/etc/secret", "/theirs/file"),
    )
    for act in acts:
        with pytest.raises(errors.Refused, match=f"{link} is a symbolic link"):
            act()
    assert files.read("/etc/secret") == b"old"
    assert names(files, "/etc") == ["secret"]
    # One of root's leads there.
    os.chown(link, 0, 0, follow_symlinks=False)
    if target == "/etc/secret":
        files.put("/theirs/file", b"new")
        assert files.read("/etc/secret") == b"new"


def test_a_link_put_in_the_way_is_not_followed(
    files: Files, tmp_path: Path
) -> None:
    """Between the resolution of a path and its use."""
    files.put("/a/b/file", b"old")
    real = files.real("/a/b/file")
    at(files, "/a/b").rename(at(files, "/a/c"))
    at(files, "/a/b").symlink_to("c")
    with (
        pytest.raises(OSError, match="symbolic links"),
        host_path.opened_folder(files.root, real),
    ):
        pass
    with (
        pytest.raises(FileNotFoundError),
        host_path.opened_folder(files.root, "/a/none/file"),
    ):
        pass
    with host_path.opened_folder(files.root, "/a/c/file") as folder:
        assert os.stat("file", dir_fd=folder).st_size == 3
