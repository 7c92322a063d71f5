"""Entries, letter by letter."""

from __future__ import annotations

from gpu_passthrough_plugin.model import address, alias
from gpu_passthrough_plugin.model.request import NumaPolicy
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.spec import AliasEntry, DeviceSpec

PLACE = address.parse("0000:06:00.0")


def test_the_shortest_spec() -> None:
    assert str(DeviceSpec(PLACE, 0x10DE, 0x0FBA)) == (
        '{"address": "0000:06:00.0", "vendor_id": "10de",'
        ' "product_id": "0fba"}'
    )


def test_a_whole_spec() -> None:
    spec = DeviceSpec(
        PLACE,
        0x10DE,
        0x1430,
        resource_class="CUSTOM_X",
        traits=frozenset({"CUSTOM_B", "CUSTOM_A"}),
        managed=False,
        live_migratable=True,
        one_time_use=True,
        iommu_group="0000:06:00.0",
        group_size=2,
        group_traits=frozenset({"CUSTOM_B", "CUSTOM_A"}),
        switch=address.parse("0000:03:00.0"),
    )
    assert str(spec) == (
        '{"address": "0000:06:00.0", "vendor_id": "10de",'
        ' "product_id": "1430", "resource_class": "CUSTOM_X",'
        ' "traits": "CUSTOM_A,CUSTOM_B", "managed": "no",'
        ' "live_migratable": "yes", "one_time_use": "yes",'
        ' "iommu_group": "0000:06:00.0", "iommu_group_size": "2",'
        ' "iommu_group_traits": "CUSTOM_A,CUSTOM_B",'
        ' "pci_switch": "0000:03:00.0"}'
    )


def test_the_shortest_alias() -> None:
    entry = AliasEntry("gpu", 0x10DE, 0x1430, DeviceType.PCI)
    assert str(entry) == (
        '{"name": "gpu", "vendor_id": "10de", "product_id": "1430",'
        ' "device_type": "type-PCI"}'
    )


def test_an_alias_reads_back() -> None:
    entry = AliasEntry(
        "gpu",
        0x8086,
        0x56C0,
        DeviceType.PF,
        NumaPolicy.PREFERRED,
        "CUSTOM_X",
        frozenset({"CUSTOM_B", "CUSTOM_A"}),
        live_migratable=True,
    )
    read = alias.parse([str(entry)])["gpu"]
    (spec,) = read.specs
    assert (spec.vendor_id, spec.product_id) == (0x8086, 0x56C0)
    assert spec.device_type is DeviceType.PF
    assert spec.resource_class == "CUSTOM_X"
    assert spec.traits == {"CUSTOM_A", "CUSTOM_B"}
    assert read.numa_policy is NumaPolicy.PREFERRED
    assert '"live_migratable": "yes"' in str(entry)
    assert '"traits": "CUSTOM_A,CUSTOM_B"' in str(entry)
