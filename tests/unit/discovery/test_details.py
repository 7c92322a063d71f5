from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery.functions import detail, functions
from gpu_passthrough_plugin.discovery.tree import RecordedTree
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import (
    Detail,
    Header,
    Physical,
    Virtual,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.trees import software
from tests.trees.host import Host
from tests.trees.hosts import HOSTS

GPU = "0000:06:00.0"
DEVICE = f"sys/devices/pci0000:06/{GPU}"


def of(tree: RecordedTree, name: str = GPU) -> Detail:
    wanted = address.parse(name)
    (found,) = [f for f in functions(tree) if f.address == wanted]
    return detail(tree, found)


def gpu(class_code: str = "030000", **values: object) -> RecordedTree:
    host = Host()
    host.function(GPU, "10de:1430", class_code, **values)  # type: ignore[arg-type] # checked at run time, by the builder
    return host.tree()


def altered(tree: RecordedTree, name: str, data: bytes) -> RecordedTree:
    return RecordedTree({**tree.files, f"{DEVICE}/{name}": data}, tree.links)


def without(tree: RecordedTree, name: str) -> RecordedTree:
    files = dict(tree.files)
    del files[f"{DEVICE}/{name}"]
    return RecordedTree(files, tree.links)


def test_the_seeds_card() -> None:
    found = of(HOSTS["seed"]().tree(), "0000:82:00.0")
    assert found == Detail(
        revision=0xA1,
        header=Header.ENDPOINT,
        modules=("nouveau",),
        driver_override=None,
        reset_methods=MISSING,
        boot_vga=False,
        bar_bytes=(16 << 20, 256 << 20, 32 << 20, 128),
        sriov=None,
        bridges=(address.parse("80:02.0"),),
    )


def test_old_kernels_show_the_revision_in_config_only() -> None:
    tree = gpu(revision=0xA1)
    assert of(without(tree, "revision")).revision == 0xA1
    assert of(altered(tree, "revision", b"x\n")).revision == Unknown(
        Why.MALFORMED, "x"
    )
    neither = without(without(tree, "revision"), "config")
    assert of(neither).revision is MISSING


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (0x00, Header.ENDPOINT),
        (0x80, Header.ENDPOINT),
        (0x01, Header.BRIDGE),
        (0x82, Header.BRIDGE),
        (0x7F, Header.DEAD),
        (0xFF, Header.DEAD),
        (0x05, Unknown(Why.MALFORMED, "header type 0x05")),
    ],
)
def test_what_the_header_type_says(
    kind: int, wanted: Header | Unknown
) -> None:
    space = bytearray(64)
    space[0x0E] = kind
    assert of(altered(gpu(), "config", bytes(space))).header == wanted


def test_a_short_config_is_malformed() -> None:
    tree = altered(without(gpu(), "revision"), "config", b"\0" * 10)
    wanted = Unknown(Why.MALFORMED, "config is 10 bytes long")
    assert of(tree).header == wanted
    assert of(tree).revision == wanted


def test_a_dead_card_is_dead() -> None:
    found = of(HOSTS["dead-card"]().tree(), "0000:04:00.0")
    assert found.header is Header.DEAD


def test_a_virtual_function_is_not_dead() -> None:
    tree = HOSTS["virtual-functions"]().tree()
    found = of(tree, "0000:05:00.1")
    assert found.header is Header.ENDPOINT
    assert found.sriov == Virtual(address.parse("05:00.0"))


def test_physical_functions_count_their_virtual_ones() -> None:
    tree = HOSTS["virtual-functions"]().tree()
    assert of(tree, "0000:04:00.0").sriov == Physical(31, 0)
    assert of(tree, "0000:05:00.0").sriov == Physical(8, 2)
    assert of(gpu(vfs=(0, 0))).sriov is None


def test_odd_counts_of_virtual_functions_are_shown() -> None:
    tree = gpu(vfs=(8, 2))
    wanted = Unknown(Why.MALFORMED, "x")
    assert of(altered(tree, "sriov_totalvfs", b"x\n")).sriov == wanted
    assert of(altered(tree, "sriov_numvfs", b"x\n")).sriov == wanted
    assert of(without(tree, "sriov_numvfs")).sriov is MISSING


@pytest.mark.parametrize(
    ("reset", "wanted"),
    [("flr bus", ("flr", "bus")), ("", ()), (None, MISSING)],
)
def test_reset_methods(reset: str | None, wanted: object) -> None:
    assert of(gpu(reset=reset)).reset_methods == wanted


@pytest.mark.parametrize(
    ("override", "wanted"),
    [("(null)", None), ("vfio-pci", "vfio-pci"), (None, MISSING)],
)
def test_driver_override(override: str | None, wanted: object) -> None:
    assert of(gpu(override=override)).driver_override == wanted


def test_only_vga_devices_have_boot_vga() -> None:
    assert of(gpu(vga=True)).boot_vga is True
    assert of(gpu(vga=False)).boot_vga is False
    assert of(gpu()).boot_vga is MISSING
    assert of(gpu("030200")).boot_vga is None
    odd = altered(gpu(), "boot_vga", b"?\n")
    assert of(odd).boot_vga == Unknown(Why.MALFORMED, "?")


def test_bars_are_those_in_use() -> None:
    rom = "0x0 0x0 0x0\n" * 5 + "0xf000 0xf0ff 0x40101\n0x1000 0x1fff 0x2\n"
    tree = altered(gpu(), "resource", rom.encode())
    assert of(tree).bar_bytes == (256,)
    odd = altered(gpu(), "resource", b"0x0 0x0\n")
    assert of(odd).bar_bytes == Unknown(Why.MALFORMED, "0x0 0x0")


def test_bridges_are_named_topmost_first() -> None:
    found = of(HOSTS["amd"]().tree(), "0000:06:00.0").bridges
    assert [str(bridge) for bridge in found] == [
        "0000:00:04.0",
        "0000:04:00.0",
        "0000:05:00.0",
    ]


def test_bridges_of_a_hidden_domain_begin_with_who_hides_it() -> None:
    found = of(HOSTS["wide-domain"]().tree(), "10000:e2:00.1").bridges
    assert [str(bridge) for bridge in found] == [
        "0000:00:0e.0",
        "10000:e0:07.0",
    ]


def test_modules_match_by_pattern() -> None:
    host = Host()
    host.function(GPU, "10de:1430", "030000")
    software.aliases(
        host,
        {
            "pci:v000010DEd*sv*sd*bc03sc*i*": "nouveau",
            "pci:v000010DEd00001430sv*sd*bc*sc*i*": "nvidia",
            "pci:v*d*sv*sd*bc03sc[0-2]*i*": "any_display",
            "pci:v000010DEd*sv*sd*bc04sc*i*": "snd_hda_intel",
            "pci:v00001002d*sv*sd*bc03sc*i*": "amdgpu",
            "vfio_pci:v000010DEd*sv*sd*bc*sc*i*": "nvgrace_gpu_vfio_pci",
        },
    )
    assert of(host.tree()).modules == ("any_display", "nouveau", "nvidia")


def test_modules_of_an_unknown_kernel_are_unknown() -> None:
    tree = gpu()
    assert of(tree).modules is MISSING
    files = dict(tree.files)
    del files["proc/sys/kernel/osrelease"]
    assert of(RecordedTree(files, tree.links)).modules is MISSING
