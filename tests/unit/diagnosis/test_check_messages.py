"""What ``host check`` says of a host, in one golden file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from gpu_passthrough_plugin.diagnosis import readiness, reboot
from gpu_passthrough_plugin.model.finding import Finding
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from tests.golden import assert_golden, sections
from tests.unit.diagnosis.build import LOST, Fields, bound, card
from tests.unit.diagnosis.test_readiness import BMC, CARD, NIC
from tests.unit.diagnosis.test_reboot import QUIET, host
from tests.unit.isolation.values import facts, gpu, judged

NO_TABLE = frozenset({"FACP"})
GUEST: Fields = {"hypervisor": "KVM", "iommus": (), "acpi_tables": NO_TABLE}
VIRTUAL = judged(gpu(iommu_group=None), facts=facts(**GUEST))
HOSTS: tuple[tuple[tuple[Group, ...], Fields], ...] = (
    ((CARD, BMC, NIC), {}),
    ((BMC, NIC), {"acpi_tables": NO_TABLE, "iommus": ()}),
    ((CARD,), {"acpi_tables": NO_TABLE, "cpu_vendor": CpuVendor.AMD}),
    ((CARD,), {"cpu_vendor": CpuVendor.ARM}),
    ((CARD,), {"cpu_vendor": LOST, "iommus": LOST}),
    ((CARD,), {"acpi_tables": LOST}),
    ((), {}),
    ((CARD,), GUEST),
    ((VIRTUAL,), GUEST),
    ((CARD,), GUEST | {"iommus": LOST}),
    ((judged(gpu(iommu_group=None), facts=facts(iommus=())),), {}),
)
ON_VFIO = judged(gpu(driver="vfio-pci"))
VFIO = (
    (True, True, ()),
    (False, LOST, (CARD, ON_VFIO)),
    (False, LOST, (CARD,)),
    (False, True, ()),
    (False, False, ()),
)
REBOOTS = (
    host(*bound()),
    host(*card(), facts=QUIET),
    host(card(driver=None)[0]),
    host(*card(), boot_id="later"),
    host(*card(), boot_id=LOST),
    host(*bound(), facts=facts(kernel_arguments=LOST)),
    host(*card(driver=LOST)[:1], bound()[1]),
)


def test_golden_messages() -> None:
    findings = [
        finding
        for groups, fields in HOSTS
        for finding in readiness.findings(facts(**fields), groups)
    ]
    findings += [readiness.vfio(*arguments) for arguments in VFIO]
    findings += map(reboot.finding, REBOOTS)
    checks = dict.fromkeys(finding.check for finding in findings)
    text = sections({check: _messages(check, findings) for check in checks})
    assert_golden(Path(__file__).with_name("check_messages.txt"), text)


def _messages(check: str, findings: Iterable[Finding]) -> Iterator[str]:
    lines = dict.fromkeys(
        f"{finding.status}: {finding.detail}"
        + (f"\n  remedy: {finding.remedy}" if finding.remedy else "")
        for finding in findings
        if finding.check == check
    )
    yield from lines
