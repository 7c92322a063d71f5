"""A tree on disk and one in memory answer alike; nothing leads outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.trees.host import written

FILES = {
    "sys/devices/a/uevent": b"DRIVER=x\n",
    "sys/devices/a/config": b"\1\2",
}
LINKS = {"sys/bus/a": "../devices/a", "sys/devices/a/group": "../../g/18"}


@pytest.fixture(params=["disk", "memory"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    recorded = RecordedTree(FILES, LINKS, ["sys/empty"])
    if request.param == "memory":
        return recorded
    return HostTree(str(written(recorded, tmp_path)))


def test_reads_through_links(tree: Tree) -> None:
    assert tree.read("sys/bus/a/uevent") == b"DRIVER=x\n"
    assert text(tree, "sys/bus/a/uevent") == "DRIVER=x"
    assert tree.real("sys/bus/a/uevent") == "sys/devices/a/uevent"


def test_reads_no_more_than_asked(tree: Tree) -> None:
    assert tree.read("sys/bus/a/config", 1) == b"\1"
    assert tree.read("sys/bus/a/config", 64) == b"\1\2"


def test_a_missing_file_is_missing(tree: Tree) -> None:
    assert tree.read("sys/bus/a/none") is MISSING
    assert tree.read("sys/bus/b/uevent") is MISSING
    assert tree.read("sys/bus/a/uevent/none") is MISSING
    assert tree.names("sys/none") is MISSING
    assert tree.link("sys/bus/none") is None
    assert tree.link("sys/none/none") is None


def test_a_name_that_no_file_can_have_is_missing(tree: Tree) -> None:
    for path in ("sys/\0", "sys/\0/uevent"):
        assert tree.read(path) is MISSING
        assert tree.names(path) is MISSING
        assert tree.link(path) is None


def test_what_is_no_file_is_unreadable(tree: Tree) -> None:
    assert tree.read("sys/empty") == Unknown(Why.UNREADABLE, "Is a directory")


def test_what_is_no_link_is_malformed(tree: Tree) -> None:
    wanted = Unknown(Why.MALFORMED, "not a symbolic link")
    assert tree.link("sys/bus/a/uevent") == wanted
    assert tree.link("sys/empty") == wanted


def test_lists_sorted(tree: Tree) -> None:
    assert tree.names("sys") == ("bus", "devices", "empty")
    assert tree.names("sys/bus/a") == ("config", "group", "uevent")
    assert tree.names("sys/empty") == ()


def test_gathers_in_the_order_asked(tree: Tree) -> None:
    files, links = tree.gather(
        "sys/bus/a", ("config", "none", "uevent"), ("group", "none")
    )
    assert files == [b"\1\2", MISSING, b"DRIVER=x\n"]
    assert links == ["../../g/18", None]
    assert tree.gather("sys/none", ("a",), ("b",)) == ([MISSING], [None])


def test_reads_files_of_many_pages(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "big").write_bytes(data)
    tree = HostTree(str(tmp_path))
    assert tree.read("big") == data
    assert tree.read("big", 10_000) == data[:10_000]


def test_refuses_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(errors.ReadFailed, match="is not a folder"):
        HostTree(str(tmp_path / "none"))


@pytest.fixture
def jail(tmp_path: Path) -> Path:
    """A root beside a file that nothing below it may reach."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (root / "inside" / "file").write_bytes(b"inside")
    return root


@pytest.mark.parametrize("target", ["../secret", "../../secret", "{}/secret"])
def test_no_folder_leads_outside(jail: Path, target: str) -> None:
    (jail / "out").symlink_to(target.format(jail.parent))
    tree = HostTree(str(jail))
    assert tree.read("out/file") is MISSING
    assert tree.names("out") is MISSING
    assert tree.gather("out", ("file",)) == ([MISSING], [])
    assert tree.read("../secret/file") is MISSING


def test_no_file_leads_outside(jail: Path) -> None:
    (jail / "out").symlink_to(jail.parent / "secret" / "file")
    (jail / "up").symlink_to("../secret/file")
    tree = HostTree(str(jail))
    assert tree.read("out") is MISSING
    assert tree.read("up") is MISSING


def test_an_absolute_link_starts_at_the_root(jail: Path) -> None:
    (jail / "in").symlink_to("/inside")
    (jail / "file").symlink_to("/inside/file")
    tree = HostTree(str(jail))
    assert tree.read("in/file") == b"inside"
    assert tree.names("in") == ("file",)
    assert tree.read("file") == b"inside"
    assert tree.real("in/file") == "inside/file"


def test_a_folder_named_like_the_root_is_outside(jail: Path) -> None:
    twin = jail.with_name("root-twin")
    twin.mkdir()
    (twin / "file").write_bytes(b"secret")
    (jail / "out").symlink_to("../root-twin")
    assert HostTree(str(jail)).read("out/file") is MISSING


def test_a_loop_is_unreadable(jail: Path) -> None:
    (jail / "loop").symlink_to("loop")
    found = HostTree(str(jail)).read("loop/file")
    assert isinstance(found, Unknown)
    assert found.why is Why.UNREADABLE


def test_a_pipe_makes_nobody_wait(jail: Path) -> None:
    os.mkfifo(jail / "pipe")
    assert HostTree(str(jail)).read("pipe") == b""


def test_recorded_errors_come_back() -> None:
    tree = RecordedTree({}, {}, unreadable={"sys/a": "Input/output error"})
    wanted = Unknown(Why.UNREADABLE, "Input/output error")
    assert tree.read("sys/a") == wanted
    assert tree.names("sys/a") == wanted
    assert tree.link("sys/a") == wanted
    assert tree.names("sys") == ("a",)
