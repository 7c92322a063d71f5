"""A recording of whatever a host may show says what the host said."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.discovery.facts import facts
from gpu_passthrough_plugin.discovery.functions import detail, functions
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.formats import umockdev
from gpu_passthrough_plugin.formats.umockdev import Device, Kind, Line
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees import installed
from tests.trees.host import written
from tests.trees.hosts import HOSTS

NAMES = st.text("abcXYZ019_.:-", min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."}
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
LINE_TEXT = st.binary(max_size=30).map(lambda data: data.replace(b"\n", b""))


def lines(kind: Kind, key: st.SearchStrategy[str]) -> st.SearchStrategy[Line]:
    value = st.binary(max_size=80)
    if kind in {Kind.PROPERTY, Kind.LINK}:
        value = LINE_TEXT
    return st.builds(Line, st.just(kind), key, value)


LINES = st.one_of(
    lines(Kind.PROPERTY, NAMES),
    *(lines(kind, PATHS) for kind in (Kind.ATTRIBUTE, Kind.BINARY, Kind.LINK)),
)
SUBSYSTEM = Line(Kind.PROPERTY, "SUBSYSTEM", b"pci")
DEVICES = st.builds(
    lambda path, rest: Device(f"/devices/{path}", (SUBSYSTEM, *rest)),
    PATHS,
    st.lists(
        LINES,
        max_size=6,
        unique_by=lambda line: (line.kind is Kind.PROPERTY, line.key),
    ),
)
RECORDINGS = st.lists(
    DEVICES, min_size=1, max_size=4, unique_by=lambda device: device.path
)


@given(RECORDINGS)
def test_what_is_printed_parses_back(devices: list[Device]) -> None:
    assert umockdev.parse(umockdev.printed(devices), "x") == tuple(devices)


@given(st.binary(max_size=200))
def test_any_text_is_read_or_refused_in_one_line(data: bytes) -> None:
    text = b"P: /devices/a\nE: SUBSYSTEM=pci\n" + data
    try:
        devices = umockdev.parse(text, "x")
    except errors.Faults as refused:
        assert "\n" not in str(refused)
    else:
        assert umockdev.parse(umockdev.printed(devices), "x") == devices


BASES = {name: host().tree() for name, host in HOSTS.items()}
# A device without uevent, or without its place on the bus, is none.
ALTERABLE = {
    name: sorted(path for path in tree.files if not path.endswith("/uevent"))
    for name, tree in BASES.items()
}
REMOVABLE = {
    name: sorted(
        path
        for path in tree.links
        if path.rpartition("/")[2] in {"iommu_group", "physfn", "driver"}
    )
    for name, tree in BASES.items()
}
CONTENTS = st.one_of(
    st.none(),
    st.sampled_from(
        [b"", b"\n", b"-1\n", b"7\n", b"x y\n", b"\xff\xfe", b"\0" * 64]
    ),
    st.binary(max_size=70),
)


def changed(
    base: RecordedTree, changes: Mapping[str, bytes | None], cut: set[str]
) -> RecordedTree:
    """The tree with other contents (None: gone), and without some links."""
    files = {**base.files, **changes}
    links = {path: to for path, to in base.links.items() if path not in cut}
    kept = {path: data for path, data in files.items() if data is not None}
    return RecordedTree(kept, links, base.folders)


@st.composite
def trees(draw: st.DrawFn) -> RecordedTree:
    name = draw(st.sampled_from(sorted(HOSTS)))
    changes = draw(
        st.dictionaries(
            st.sampled_from(ALTERABLE[name]), CONTENTS, max_size=12
        )
    )
    cut = draw(st.sets(st.sampled_from(REMOVABLE[name]), max_size=4))
    tree = changed(BASES[name], changes, cut)
    return _with_errors(draw, tree, name)


def _with_errors(
    draw: st.DrawFn, tree: RecordedTree, name: str
) -> RecordedTree:
    lost = draw(st.sets(st.sampled_from(ALTERABLE[name]), max_size=3))
    files = {
        path: data for path, data in tree.files.items() if path not in lost
    }
    return RecordedTree(
        files,
        tree.links,
        tree.folders,
        dict.fromkeys(sorted(lost), "Input/output error"),
    )


def discovered(tree: Tree) -> object:
    found = functions(tree)
    read = facts(tree)
    if isinstance(read.uses, Unknown):
        # It cites a line that cannot be read, which a recording hides.
        read = read._replace(uses=Unknown(read.uses.why))
    return found, [detail(tree, one) for one in found], read


@settings(max_examples=60)
@given(trees())
def test_a_recording_says_what_the_host_says(tree: RecordedTree) -> None:
    text = installed.recorded(tree)
    again = recorded_tree.parse(text, "again")
    assert discovered(again) == discovered(tree)
    assert installed.recorded(again) == text


@settings(max_examples=10)
@given(trees())
def test_a_tree_on_disk_says_what_one_in_memory_says(
    tree: RecordedTree,
) -> None:
    readable = RecordedTree(tree.files, tree.links, tree.folders)
    with tempfile.TemporaryDirectory() as folder:
        disk = HostTree(str(written(readable, Path(folder))))
        assert discovered(disk) == discovered(readable)
        assert installed.recorded(disk) == installed.recorded(readable)
