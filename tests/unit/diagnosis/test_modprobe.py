from __future__ import annotations

from gpu_passthrough_plugin.diagnosis import modprobe
from gpu_passthrough_plugin.diagnosis.modprobe import Ids
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.diagnosis.build import evidence, found
from tests.unit.isolation.values import facts


def given(text: str) -> list[tuple[str, ...]]:
    files = {"/etc/modprobe.d/vfio.conf": text}
    return [ids.values for ids in modprobe.configured_ids(found(files))]


def test_ids_as_operators_write_them() -> None:
    assert given("options vfio-pci ids=10de:1430,10de:0fba\n") == [
        ("10de:1430", "10de:0fba")
    ]
    assert given("options vfio_pci disable_vga=1 ids=10DE:1430:10de:1190") == [
        ("10de:1430",)
    ]
    assert given("options vfio-pci \\\n  ids=10de:1430") == [("10de:1430",)]
    for text in (
        "# options vfio-pci ids=10de:1430",
        "options vfio-pci disable_vga=1",
        "options nouveau ids=10de:1430",
        "softdep nouveau pre: vfio-pci",
        "options",
    ):
        assert given(text) == []


def test_a_file_hides_those_of_its_name() -> None:
    files = {
        "/lib/modprobe.d/a.conf": "blacklist one",
        "/run/modprobe.d/a.conf": "blacklist two",
        "/lib/modprobe.d/b.conf": "blacklist three",
    }
    assert [line.module for line in modprobe.lines(found(files))] == [
        "two",
        "three",
    ]


def test_what_ids_cover() -> None:
    assert Ids(("10de:1430",), "").covers("10de:1430")
    assert not Ids(("10de:1430",), "").covers("10de:0fba")
    assert Ids(("10de:ffffffff",), "").covers("10de:0fba")
    assert Ids(("10de:fba",), "").covers("10de:0fba")
    assert not Ids(("1002:ffffffff",), "").covers("10de:0fba")


def test_what_vfio_pci_says_that_it_took() -> None:
    log = (
        "vfio_pci: add [10de:1430[ffff:ffff]] class 0x000000/00000000",
        "vfio_pci: add [10de:0fba[ffffffff:ffffffff]] class 0x000000/00000000",
    )
    taken = modprobe.taken_ids(evidence(log=log))
    assert taken == Ids(("10de:1430", "10de:0fba"), log[0])
    assert modprobe.taken_ids(evidence(log=("vfio_pci: add",))) is None


def test_the_command_line_counts_for_a_module_that_is_built_in() -> None:
    files = {"/etc/modprobe.d/vfio.conf": "options vfio-pci ids=1:2"}
    told = facts(
        kernel_arguments=("vfio-pci.ids=3:4",), kernel_release="6.1.0"
    )
    both = evidence(installation=found(files), facts=told)
    assert [i.values for i in modprobe.given_ids(both)] == [("3:4",), ("1:2",)]
    builtin = found(files, builtin=["vfio_pci"])
    assert [
        i.values
        for i in modprobe.given_ids(both._replace(installation=builtin))
    ] == [("3:4",)]


def test_what_could_not_be_read_is_named() -> None:
    path = "/etc/modprobe.d/vfio.conf"
    lost = found({path: ""})._replace(
        files={path: Unknown(Why.UNREADABLE, "")}
    )
    assert modprobe.unread(lost) == (path,)
    assert list(modprobe.lines(lost)) == []
    assert modprobe.unread(found({path: ""})) == ()
