"""The PCI functions of a host: the listing."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery.functions import (
    functions,
    named,
)
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import (
    Function,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.trees.host import Host
from tests.trees.hosts import HOSTS
from tests.trees.seed import seed

GPU = "0000:06:00.0"
DEVICE = f"sys/devices/pci0000:06/{GPU}"


def host_with(**values: object) -> Host:
    host = Host()
    host.function(GPU, "10de:1430", "030000", **values)  # type: ignore[arg-type] # checked at run time, by the builder
    return host


def only(tree: RecordedTree) -> Function:
    (function,) = functions(tree)
    return function


def altered(tree: RecordedTree, **contents: bytes | None) -> RecordedTree:
    """The tree with other contents of the card's attributes."""
    files = dict(tree.files)
    for name, data in contents.items():
        if data is None:
            del files[f"{DEVICE}/{name}"]
        else:
            files[f"{DEVICE}/{name}"] = data
    return RecordedTree(files, tree.links)


def test_a_function_is_read_whole() -> None:
    host = host_with(group=18, node=1, driver="nouveau", subsystem="10de:1190")
    assert only(host.tree()) == Function(
        address=address.parse(GPU),
        vendor_id=0x10DE,
        product_id=0x1430,
        subsystem_vendor_id=0x10DE,
        subsystem_product_id=0x1190,
        class_code=0x030000,
        driver="nouveau",
        iommu_group=18,
        numa_node=1,
        modalias="pci:v000010DEd00001430sv000010DEsd00001190bc03sc00i00",
        is_bridge=False,
    )


def test_what_is_not_there_is_none() -> None:
    function = only(host_with().tree())
    assert function.driver is None
    assert function.iommu_group is None
    assert function.numa_node is None


def test_a_kernel_without_numa_says_nothing() -> None:
    assert only(host_with(node=None).tree()).numa_node is MISSING


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_a_tree_on_disk_reads_as_in_memory(name: str, tmp_path: Path) -> None:
    host = HOSTS[name]()
    found = functions(HostTree(str(host.write(tmp_path))))
    assert found == functions(host.tree())
    assert len(found) > 3


def test_functions_come_by_address() -> None:
    host = Host()
    for name in ("10000:00:00.0", "ffff:00:00.0", "0000:0a:00.1"):
        host.function(name, "10de:1430", "030000")
    assert [str(f.address) for f in functions(host.tree())] == [
        "0000:0a:00.1",
        "ffff:00:00.0",
        "10000:00:00.0",
    ]


def test_some_functions_are_read_alone(tmp_path: Path) -> None:
    root = seed().write(tmp_path)
    tree = HostTree(str(root))
    names = ["0000:82:00.1", "0000:06:00.0"]
    expected = tuple(f for f in functions(tree) if str(f.address) in names)
    assert named(tree, names) == expected
    assert len(expected) == 2
    with pytest.raises(errors.ReadFailed, match="'x'"):
        named(tree, ["x"])


def test_malformed_attributes_are_shown() -> None:
    tree = altered(
        host_with().tree(),
        uevent=b"PCI_CLASS=zz\nPCI_ID=10DE:\nPCI_SUBSYS_ID=x\nnonsense\n",
        numa_node=b"many\n",
    )
    function = only(tree)
    assert function.class_code == Unknown(Why.MALFORMED, "zz")
    assert function.vendor_id == 0x10DE
    assert function.product_id == Unknown(Why.MALFORMED, "10DE:")
    assert function.subsystem_vendor_id == Unknown(Why.MALFORMED, "x")
    assert function.modalias is MISSING
    assert function.numa_node == Unknown(Why.MALFORMED, r"many\n")


def test_without_ids_in_uevent_the_files_are_read() -> None:
    tree = host_with().tree()
    for other in (altered(tree, uevent=None), altered(tree, uevent=b"")):
        function = only(other)
        assert (function.vendor_id, function.product_id) == (0x10DE, 0x1430)
        assert function.class_code == 0x030000
        assert function.driver is MISSING


def test_unreadable_differs_from_missing(tmp_path: Path) -> None:
    root = host_with(group=1).write(tmp_path)
    for name in ("uevent", "numa_node", "vendor"):
        (root / DEVICE / name).unlink()
        (root / DEVICE / name).mkdir()
    (root / DEVICE / "modalias").unlink()
    (function,) = functions(HostTree(str(root)))
    wanted = Unknown(Why.UNREADABLE, "Is a directory")
    assert function.vendor_id == function.driver == wanted
    assert function.numa_node == wanted
    assert function.iommu_group == 1


def test_an_odd_group_is_malformed() -> None:
    tree = host_with(group=18).tree()
    links = dict(tree.links)
    links[f"{DEVICE}/iommu_group"] = "../../nowhere"
    function = only(RecordedTree(tree.files, links))
    assert function.iommu_group == Unknown(Why.MALFORMED, "../../nowhere")


@pytest.mark.parametrize(
    ("class_code", "below", "wanted"),
    [
        ("060400", "0000:07", True),
        ("060401", None, True),
        ("060700", None, True),
        ("060000", None, False),
        ("060100", None, False),
        ("068000", None, False),
        ("060900", "0000:07", True),
        ("030000", None, False),
    ],
)
def test_what_counts_as_a_bridge(
    class_code: str, below: str | None, wanted: bool
) -> None:
    host = Host()
    host.function(GPU, "8086:1d41", class_code, below=below)
    assert only(host.tree()).is_bridge is wanted


def test_a_function_of_unknown_class_is_a_bridge_with_a_bus_below() -> None:
    for below, wanted in (("0000:07", True), (None, False)):
        host = Host()
        host.function(GPU, "8086:1d41", "060400", below=below)
        tree = altered(host.tree(), uevent=b"", modalias=None)
        tree = altered(tree, **{"class": None})
        assert only(tree).is_bridge is wanted


def test_a_listing_never_opens_config(tmp_path: Path) -> None:
    root = host_with().write(tmp_path)
    (root / DEVICE / "config").unlink()
    os_pipe = root / DEVICE / "config"
    os_pipe.mkdir()
    assert functions(HostTree(str(root))) == functions(host_with().tree())


def test_a_tree_without_a_pci_bus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.ReadFailed) as caught:
        functions(HostTree(str(tmp_path)))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path} has no sys/bus/pci/devices (miss")
    assert "\n" not in message


def test_an_empty_bus_has_no_functions() -> None:
    assert functions(RecordedTree({}, {}, ["sys/bus/pci/devices"])) == ()


@pytest.mark.parametrize(
    "name", ["06:00.0", "0000:06:00.A", "0000:0A:00.0", "00000:06:00.0", "x"]
)
def test_names_no_kernel_gives_are_refused(name: str) -> None:
    folder = "sys/bus/pci/devices"
    tree = RecordedTree({}, {}, [f"{folder}/{GPU}", f"{folder}/{name}"])
    with pytest.raises(errors.ReadFailed, match=f" '{name}'"):
        functions(tree)
