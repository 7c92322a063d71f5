"""One PCI function of a host in full."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery.functions import (
    detail,
    functions,
    mediated_devices,
)
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import (
    Bar,
    BarKind,
    Detail,
    Header,
    PhysicalFunction,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.trees import software
from tests.trees.host import Host
from tests.trees.hosts import HOSTS
from tests.unit.discovery.test_functions import (
    DEVICE,
    GPU,
    host_with,
    only,
)


def detail_of(tree: RecordedTree, name: str = GPU) -> Detail:
    wanted = address.parse(name)
    (found,) = [f for f in functions(tree) if f.address == wanted]
    return detail(tree, found)


def tree_with(class_code: str = "030000", **values: object) -> RecordedTree:
    host = Host()
    host.function(GPU, "10de:1430", class_code, **values)  # type: ignore[arg-type] # checked at run time, by the builder
    return host.tree()


def changed(tree: RecordedTree, name: str, data: bytes) -> RecordedTree:
    return RecordedTree({**tree.files, f"{DEVICE}/{name}": data}, tree.links)


def without(tree: RecordedTree, name: str) -> RecordedTree:
    files = dict(tree.files)
    del files[f"{DEVICE}/{name}"]
    return RecordedTree(files, tree.links)


def test_the_seeds_card() -> None:
    found = detail_of(HOSTS["seed"]().tree(), "0000:82:00.0")
    assert found == Detail(
        revision=0xA1,
        header=Header.ENDPOINT,
        modules=("nouveau",),
        driver_override=None,
        reset_methods=MISSING,
        boot_vga=False,
        bars=(
            Bar(16 << 20, BarKind.LOW),
            Bar(256 << 20, BarKind.HIGH),
            Bar(32 << 20, BarKind.LOW),
            Bar(128, BarKind.LOW),
        ),
        sriov=None,
        bridges=(address.parse("80:02.0"),),
        is_on_vfio=True,
    )


ALIASES = (
    "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n"
    "alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau\n"
)


@pytest.mark.parametrize(
    ("driver", "aliases", "is_on_vfio"),
    [
        (None, None, False),
        ("vfio-pci", None, True),
        ("nouveau", None, False),
        ("mlx5_vfio_pci", ALIASES, True),
        ("mlx5-vfio-pci", ALIASES, True),
        ("nouveau", ALIASES, False),
        # A name is no evidence, either way.
        ("not-vfio-pci", ALIASES, False),
        ("mlx5_vfio_pci", None, MISSING),
    ],
)
def test_a_vfio_driver_is_known_by_modules_alias(
    driver: str | None, aliases: str | None, is_on_vfio: bool | Unknown
) -> None:
    host = Host("5.15.0")
    host.function(GPU, "10de:1430", "030000", driver=driver)
    if aliases is not None:
        host.file("lib/modules/5.15.0/modules.alias", aliases)
    assert detail_of(host.tree()).is_on_vfio == is_on_vfio


def test_a_vfio_driver_is_known_by_the_vfio_device_below() -> None:
    """NVIDIA's vGPUs from release 17 on stay on the driver nvidia."""
    host = Host("6.8.0")
    path = host.function(GPU, "10de:1430", "030000", driver="nvidia")
    host.device(f"{path}/vfio-dev/vfio0", "vfio-dev")
    assert detail_of(host.tree()).is_on_vfio is True


def test_old_kernels_show_the_revision_in_config_only() -> None:
    tree = tree_with(revision=0xA1)
    assert detail_of(without(tree, "revision")).revision == 0xA1
    assert detail_of(changed(tree, "revision", b"x\n")).revision == Unknown(
        Why.MALFORMED, "x"
    )
    neither = without(without(tree, "revision"), "config")
    assert detail_of(neither).revision is MISSING


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
    assert (
        detail_of(changed(tree_with(), "config", bytes(space))).header
        == wanted
    )


def test_a_short_config_is_malformed() -> None:
    tree = changed(without(tree_with(), "revision"), "config", b"\0" * 10)
    wanted = Unknown(Why.MALFORMED, "config is 10 bytes long")
    assert detail_of(tree).header == wanted
    assert detail_of(tree).revision == wanted


def test_a_dead_card_is_dead() -> None:
    found = detail_of(HOSTS["dead-card"]().tree(), "0000:04:00.0")
    assert found.header is Header.DEAD


def test_a_virtual_function_is_not_dead() -> None:
    tree = HOSTS["virtual-functions"]().tree()
    found = detail_of(tree, "0000:05:00.1")
    assert found.header is Header.ENDPOINT
    assert found.sriov == VirtualFunction(address.parse("05:00.0"))


def test_physical_functions_count_their_virtual_ones() -> None:
    tree = HOSTS["virtual-functions"]().tree()
    assert detail_of(tree, "0000:04:00.0").sriov == PhysicalFunction(31, 0)
    assert detail_of(tree, "0000:05:00.0").sriov == PhysicalFunction(8, 2)
    assert detail_of(tree_with(vfs=(0, 0))).sriov is None


def test_odd_counts_of_virtual_functions_are_shown() -> None:
    tree = tree_with(vfs=(8, 2))
    wanted = Unknown(Why.MALFORMED, "x")
    assert detail_of(changed(tree, "sriov_totalvfs", b"x\n")).sriov == wanted
    assert detail_of(changed(tree, "sriov_numvfs", b"x\n")).sriov == wanted
    assert detail_of(without(tree, "sriov_numvfs")).sriov is MISSING


@pytest.mark.parametrize(
    ("reset", "wanted"),
    [("flr bus", ("flr", "bus")), ("", ()), (None, MISSING)],
)
def test_reset_methods(reset: str | None, wanted: object) -> None:
    assert detail_of(tree_with(reset=reset)).reset_methods == wanted


@pytest.mark.parametrize(
    ("override", "wanted"),
    [("(null)", None), ("vfio-pci", "vfio-pci"), (None, MISSING)],
)
def test_driver_override(override: str | None, wanted: object) -> None:
    assert detail_of(tree_with(override=override)).driver_override == wanted


def test_only_vga_devices_have_boot_vga() -> None:
    assert detail_of(tree_with(vga=True)).boot_vga is True
    assert detail_of(tree_with(vga=False)).boot_vga is False
    assert detail_of(tree_with()).boot_vga is MISSING
    assert detail_of(tree_with("030200")).boot_vga is None
    odd = changed(tree_with(), "boot_vga", b"?\n")
    assert detail_of(odd).boot_vga == Unknown(Why.MALFORMED, "?")


def test_bars_are_those_in_use() -> None:
    rom = "0x0 0x0 0x0\n" * 5 + "0xf000 0xf0ff 0x40101\n0x1000 0x1fff 0x2\n"
    tree = changed(tree_with(), "resource", rom.encode())
    assert detail_of(tree).bars == (Bar(256, BarKind.PORTS),)
    odd = changed(tree_with(), "resource", b"0x0 0x0\n")
    assert detail_of(odd).bars == Unknown(Why.MALFORMED, "0x0 0x0")


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        (0x40101, BarKind.PORTS),
        (0x40200, BarKind.LOW),
        # Prefetchable with 32-bit addresses, and 64-bit ones without.
        (0x42208, BarKind.LOW),
        (0x140204, BarKind.LOW),
        (0x14220C, BarKind.HIGH),
    ],
)
def test_where_a_bar_may_lie(flags: int, kind: BarKind) -> None:
    line = f"0xf0000000 0xf0ffffff {flags:#x}\n"
    tree = changed(tree_with(), "resource", line.encode())
    assert detail_of(tree).bars == (Bar(16 << 20, kind),)


def test_bridges_are_named_topmost_first() -> None:
    found = detail_of(HOSTS["amd"]().tree(), "0000:06:00.0").bridges
    assert [str(bridge) for bridge in found] == [
        "0000:00:04.0",
        "0000:04:00.0",
        "0000:05:00.0",
    ]


def test_bridges_of_a_hidden_domain_begin_with_who_hides_it() -> None:
    found = detail_of(HOSTS["wide-domain"]().tree(), "10000:e2:00.1").bridges
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
    assert detail_of(host.tree()).modules == (
        "any_display",
        "nouveau",
        "nvidia",
    )


def test_modules_of_an_unknown_kernel_are_unknown() -> None:
    tree = tree_with()
    assert detail_of(tree).modules is MISSING
    files = dict(tree.files)
    del files["proc/sys/kernel/osrelease"]
    assert detail_of(RecordedTree(files, tree.links)).modules is MISSING


UUID = "4b20d080-1b54-4048-85b3-a6a62d165c01"


def test_vgpus_of_a_function() -> None:
    """A10 with mediated devices, H200 with vGPUs as virtual functions."""
    tree = host_with().tree()
    assert detail(tree, only(tree)).vgpu_type is None
    assert mediated_devices(tree) == {}
    for text, expected in ((b"1120\n", 1120), (b"0\n", 0)):
        files = {**tree.files, f"{DEVICE}/nvidia/current_vgpu_type": text}
        vgpu = RecordedTree(files, tree.links)
        assert detail(vgpu, only(vgpu)).vgpu_type == expected
    links = {
        **tree.links,
        f"sys/bus/mdev/devices/{UUID}": f"../../../devices/pci0000:06/{GPU}/"
        f"{UUID}",
    }
    files = {**tree.files, f"{DEVICE}/{UUID}/uevent": b""}
    mediated = RecordedTree(files, links)
    assert mediated_devices(mediated) == {address.parse(GPU): (UUID,)}
