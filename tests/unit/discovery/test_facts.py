"""What a host says of itself beyond its functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin.discovery.facts import (
    cpu_lines,
    facts,
    group_attributes,
    machine_identity,
)
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.group import GroupAttributes, ReservedRegion
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.trees import software
from tests.trees.host import Host
from tests.trees.hosts import HOSTS


def test_the_seeds_facts() -> None:
    found = facts(HOSTS["seed"]().tree())
    assert found.cpu_vendor is CpuVendor.INTEL
    assert found.kernel_release == "3.10.0-514.el7.x86_64"
    assert not isinstance(found.kernel_arguments, Unknown)
    assert "intel_iommu=on" in found.kernel_arguments
    assert not isinstance(found.acpi_tables, Unknown)
    assert "DMAR" in found.acpi_tables
    assert found.iommus == ("dmar0", "dmar1")
    assert found.consoles == ("tty0",)
    assert found.sockets == {0: 0, 1: 1}


def test_firmware_that_hides_the_iommu() -> None:
    found = facts(HOSTS["firmware-off"]().tree())
    assert found.acpi_tables == frozenset({"APIC", "DSDT", "FACP", "MCFG"})
    assert found.iommus == ()


def test_an_amd_host() -> None:
    found = facts(HOSTS["amd"]().tree())
    assert found.cpu_vendor is CpuVendor.AMD
    assert found.iommus == ("ivhd0",)


def test_nothing_is_known_of_an_empty_tree() -> None:
    found = facts(RecordedTree({}, {}))
    values = found._asdict()
    assert values.pop("hypervisor") is values.pop("board") is None
    assert values.pop("fabric_mode") is None
    assert not values.pop("monitors")
    for name, value in values.items():
        assert isinstance(value, Unknown), name
        assert value.why is Why.MISSING


@pytest.mark.parametrize(
    ("cpuinfo", "wanted"),
    [
        (b"vendor_id\t: GenuineIntel\n", CpuVendor.INTEL),
        (b"processor: 0\nvendor_id : HygonGenuine\n", CpuVendor.AMD),
        (b"vendor_id\t: CentaurHauls\n", CpuVendor.OTHER),
        (b"CPU implementer\t: 0x41\n", CpuVendor.ARM),
        (b"isa: rv64\n", CpuVendor.OTHER),
        (b"cpu\t\t: POWER9, altivec supported\n", CpuVendor.OTHER),
        (b"CPU Family\t\t: Loongson-64bit\n", CpuVendor.OTHER),
        (b"vendor_id       : IBM/S390\n", CpuVendor.OTHER),
        (
            b"flags: none\n",
            Unknown(Why.MALFORMED, "no vendor_id in proc/cpuinfo"),
        ),
    ],
)
def test_cpu_vendors(cpuinfo: bytes, wanted: object) -> None:
    tree = RecordedTree({"proc/cpuinfo": cpuinfo}, {})
    assert facts(tree).cpu_vendor == wanted


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (b"LOG_LEVEL=4\nFABRIC_MODE=1\n", 1),
        (b"# FABRIC_MODE=1\nFABRIC_MODE = 2 \r\nFABRIC_MODE_RESTART=0\n", 2),
        (b"FABRIC_MODE=1\nFABRIC_MODE=0\n", 0),
        (b"LOG_LEVEL=4\n", 0),
        (b"FABRIC_MODE=on\n", Unknown(Why.MALFORMED, "FABRIC_MODE=on")),
    ],
)
def test_how_fabric_manager_is_configured(text: bytes, mode: object) -> None:
    path = "usr/share/nvidia/nvswitch/fabricmanager.cfg"
    assert facts(RecordedTree({path: text}, {})).fabric_mode == mode


def test_how_wide_addresses_are() -> None:
    sizes = "address sizes\t: 46 bits physical, 48 bits virtual"
    cpuinfo = f"vendor_id\t: GenuineIntel\n{sizes}\n".encode()
    tree = RecordedTree({"proc/cpuinfo": cpuinfo}, {})
    assert facts(tree).address_bits == 46
    assert cpu_lines(cpuinfo) == ["vendor_id\t: GenuineIntel", sizes]
    odd = RecordedTree({"proc/cpuinfo": b"address sizes\t: many\n"}, {})
    assert facts(odd).address_bits == Unknown(
        Why.MALFORMED, "address sizes\t: many"
    )


def test_folders_beside_the_acpi_tables_are_none() -> None:
    folder = "sys/firmware/acpi/tables"
    tree = RecordedTree({}, {}, [f"{folder}/DMAR", f"{folder}/data"])
    assert facts(tree).acpi_tables == frozenset({"DMAR"})


def test_a_node_of_memory_only_has_no_socket() -> None:
    host = Host()
    software.sockets(host, ["0-3,8-11", "4-7"])
    host.device("/devices/system/node/node2", "node", {"cpulist": "\n"})
    host.folder("sys/devices/system/node/possible")
    assert facts(host.tree()).sockets == {0: 0, 1: 1}


@pytest.mark.parametrize(
    ("package", "wanted"),
    [("x", Unknown(Why.MALFORMED, "x")), ("-1", MISSING)],
)
def test_a_socket_that_is_not_told_is_unknown(
    package: str, wanted: Unknown
) -> None:
    host = Host()
    software.sockets(host, ["0-3"])
    host.device(
        "/devices/system/cpu/cpu0",
        "cpu",
        {"topology/physical_package_id": f"{package}\n"},
    )
    assert facts(host.tree()).sockets == wanted


ID = b"0123456789abcdef0123456789abcdef"


def machine(machine_id: bytes) -> Tree:
    return RecordedTree({"etc/machine-id": machine_id}, {})


def test_a_machine_is_the_same_at_every_look_and_no_other() -> None:
    found = machine_identity(machine(ID + b"\n"))
    # Reached as well by: printf gpu-passthrough | openssl dgst -sha256
    # -mac HMAC -macopt hexkey:0123456789abcdef0123456789abcdef
    assert (
        found
        == "adfb7bd0f9fac9ff9286b97007838dbb3ad97aebed091791296ce2aed64dfe81"
    )
    assert machine_identity(machine(ID[::-1])) != found
    assert ID.decode() not in str(found)


@pytest.mark.parametrize(
    "text", [b"", b"uninitialized\n", ID[1:], ID + b"0", ID.upper(), b"\xff"]
)
def test_an_id_that_is_none(text: bytes) -> None:
    found = machine_identity(machine(text))
    assert isinstance(found, Unknown)
    assert str(found) == "malformed (no id in etc/machine-id)"


def test_no_id() -> None:
    assert machine_identity(RecordedTree({}, {})) == MISSING


def attributes(root: Path, **files: str) -> GroupAttributes:
    folder = root / "sys/kernel/iommu_groups/38"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return group_attributes(HostTree(str(root)), 38)


def test_a_kernel_that_says_nothing(tmp_path: Path) -> None:
    assert attributes(tmp_path) == GroupAttributes(None, MISSING)


def test_name_and_regions(tmp_path: Path) -> None:
    found = attributes(
        tmp_path,
        name="vfio-noiommu\n",
        reserved_regions=(
            "0x00000000f5c83000 0x00000000f5ffffff direct\n"
            "0x00000000fee00000 0x00000000feefffff msi\n"
        ),
    )
    assert found == GroupAttributes(
        "vfio-noiommu",
        (
            ReservedRegion(0xF5C83000, 0xF5FFFFFF, "direct"),
            ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi"),
        ),
    )


def test_a_region_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    regions = attributes(
        tmp_path, reserved_regions="direct\n"
    ).reserved_regions
    assert isinstance(regions, Unknown)
    assert (regions.why, regions.detail) == (Why.MALFORMED, "direct")
