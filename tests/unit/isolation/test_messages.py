"""Every reason, remedy and note of isolation, in one golden file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_passthrough_plugin.isolation import partition, verdict
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.function import Header, PhysicalFunction
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.host_facts import CpuVendor, HostUse
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.golden import assert_golden, sections
from tests.unit.isolation.values import (
    GPUS,
    audio,
    facts,
    function,
    gpu,
    judged,
    port,
)

LOST = Unknown(Why.UNREADABLE, "Permission denied")
ALONE = gpu(iommu_group=None)
OFF = {"iommus": ()}
DISK = function("07:00.0", "144d:a808", 0x010802)


def _ungrouped() -> Iterator[Group]:
    for fields in (
        {"iommus": ("dmar0", "dmar1")},
        OFF | {"acpi_tables": frozenset({"FACP"})},
        OFF
        | {
            "acpi_tables": frozenset({"FACP"}),
            "cpu_vendor": CpuVendor.AMD,
        },
        OFF | {"kernel_arguments": ("intel_iommu=off",)},
        OFF | {"kernel_arguments": ("intel_opmmu=on",)},
        OFF | {"kernel_arguments": ("quiet",)},
        OFF,
        {"iommus": LOST},
    ):
        yield judged(ALONE, facts=facts(**fields))
    yield judged(gpu(iommu_group=LOST))


def _grouped() -> Iterator[Group]:
    stray = [gpu(), audio("08:00.0", iommu_group=LOST)]
    yield verdict.judge(partition.parts(stray, GPUS)[0], facts(), GPUS)
    yield judged(audio())
    yield judged(port(), policy=Policy((selector.parse("00:02.0"),)))
    yield judged(gpu(), DISK, facts=facts(uses=LOST), policy=_with_disk())
    used = (HostUse(DISK.address, "mount / (/dev/nvme0n1p1)", ("nvme0n1",)),)
    yield judged(gpu(), DISK, facts=facts(uses=used), policy=_with_disk())
    yield judged(function("0a:03.0", "102b:0532", 0x030000))
    primary = {"06:00.0": {"boot_vga": True}}
    yield judged(gpu(), facts=facts(consoles=("tty0",)), details=primary)
    yield judged(gpu(), details={"06:00.0": {"header": Header.DEAD}})
    yield judged(gpu(), details={"06:00.0": {"header": LOST}})
    unread: dict[str, Any]
    for field in ("vendor_id", "product_id", "class_code", "driver"):
        unread = {field: LOST}
        yield judged(gpu(), audio(**unread))
    yield judged(gpu(), details={"06:00.0": {"sriov": PhysicalFunction(8, 2)}})
    yield judged(gpu(), details={"06:00.0": {"sriov": LOST}})
    exclude = (selector.parse("10de:0fba"),)
    yield judged(gpu(), audio(), policy=Policy(GPUS.select, exclude))
    yield judged(gpu(), DISK)
    yield judged(gpu("06:01.0"), gpu("06:02.0"))
    yield judged(gpu(numa_node=LOST))


def _with_disk() -> Policy:
    return Policy((*GPUS.select, selector.parse("144d:*")))


def test_messages() -> None:
    found: dict[str, list[str]] = {}
    for group in (*_ungrouped(), *_grouped()):
        for reason in group.verdict.reasons:
            lines = found.setdefault(reason.rule, [])
            lines += (reason.text, f"  remedy: {reason.remedy}")
        found.setdefault("notes", []).extend(group.verdict.notes)
    notes = found.pop("notes")
    assert_golden(
        Path(__file__).with_name("messages.txt"),
        sections({**found, "notes": notes}),
    )
