"""Functions, details, facts and parts from a few words."""

from __future__ import annotations

from typing import Any

from gpu_passthrough_plugin.isolation import partition, verdict
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import address, selector
from gpu_passthrough_plugin.model.function import (
    VFIO_PCI,
    Detail,
    Function,
    Header,
)
from gpu_passthrough_plugin.model.group import Group, GroupAttributes
from gpu_passthrough_plugin.model.host_facts import CpuVendor, HostFacts
from gpu_passthrough_plugin.model.reading import Unknown

GPUS = Policy((selector.parse("class=03"),))

# ``Any``: keywords of a dataclass, which checks nothing of its own.
Fields = Any


def function(place: str, ids: str, code: int, **fields: Fields) -> Function:
    """A function of group 1, on no driver."""
    vendor, product = (int(part, 16) for part in ids.split(":"))
    made: Fields = dict(
        address=address.parse(place),
        vendor_id=vendor,
        product_id=product,
        subsystem_vendor_id=0,
        subsystem_product_id=0,
        class_code=code,
        driver=None,
        iommu_group=1,
        numa_node=None,
        modalias="",
        is_bridge=code >> 8 == 0x0604,
    )
    return Function(**made | fields)


def gpu(place: str = "06:00.0", **fields: Fields) -> Function:
    return function(place, "10de:1430", 0x030000, **fields)


def audio(place: str = "06:00.1", **fields: Fields) -> Function:
    return function(place, "10de:0fba", 0x040300, **fields)


def port(place: str = "00:02.0", **fields: Fields) -> Function:
    return function(place, "8086:0e04", 0x060400, **fields)


def on_vfio(driver: str | Unknown | None) -> bool | Unknown:
    return driver if isinstance(driver, Unknown) else driver == VFIO_PCI


def detail(of: Function, **fields: Fields) -> Detail:
    """What a healthy function of that kind says."""
    made: Fields = dict(
        revision=0,
        header=Header.BRIDGE if of.is_bridge else Header.ENDPOINT,
        modules=(),
        driver_override=None,
        reset_methods=("flr",),
        boot_vga=False if of.is_display else None,
        bars=(),
        sriov=None,
        bridges=(),
        is_on_vfio=on_vfio(of.driver),
    )
    return Detail(**made | fields)


def facts(**fields: Fields) -> HostFacts:
    """An Intel host whose IOMMU runs, with a serial console."""
    made: Fields = dict(
        cpu_vendor=CpuVendor.INTEL,
        kernel_release="6.1.0",
        kernel_arguments=("quiet", "intel_iommu=on"),
        acpi_tables=frozenset({"DMAR", "FACP"}),
        iommus=("dmar0",),
        uses=(),
        consoles=("tty0", "ttyS0"),
        sockets={0: 0, 1: 1},
    )
    return HostFacts(**made | fields)


HEALTHY = facts()


def judged(
    *functions: Function,
    facts: HostFacts = HEALTHY,
    policy: Policy = GPUS,
    details: dict[str, Fields] | None = None,
    attributes: GroupAttributes | None = None,
) -> Group:
    """The verdict on functions that are one part.

    :param details: what is special about a function, by its address.
    """
    (part,) = partition.parts(functions, policy)
    special = details or {}
    whole = partition.detailed(
        part,
        {
            f.address: detail(f, **special.get(str(f.address)[5:], {}))
            for f in functions
        },
    )
    whole = whole._replace(attributes=attributes)
    return verdict.judge(whole, facts, policy)


def rules(group: Group) -> list[str]:
    return [reason.rule for reason in group.verdict.reasons]
