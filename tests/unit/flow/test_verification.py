"""Which functions ``host verify`` expects, and why none may be."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.diagnosis.verify import Verified
from gpu_passthrough_plugin.flow import verification
from gpu_passthrough_plugin.flow.verification import BootEvidence
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.reading import MISSING
from tests.trees import hosts, software
from tests.trees.host import Host
from tests.unit.isolation.values import GPUS

BOOT = BootEvidence((), None, lambda installation, release: MISSING)
NOTHING = Policy((selector.parse("1234:*"),))
AUDIO_ONLY = Policy((selector.parse("10de:228b"),))


def verified(host: Host, policy: Policy = GPUS) -> tuple[Verified, ...]:
    return verification.verify_host(host.tree(), policy, BOOT)


def refusal(host: Host, policy: Policy = GPUS) -> str:
    with pytest.raises(errors.Refused) as caught:
        verified(host, policy)
    return str(caught.value)


def virtual_machine() -> Host:
    host = hosts.server(iommu=False)
    host.file("sys/class/dmi/id/sys_vendor", "QEMU\n")
    host.file("sys/class/dmi/id/product_name", "Standard PC\n")
    return host


@pytest.mark.parametrize("policy", [GPUS, NOTHING])
def test_a_virtual_machine_without_an_iommu(policy: Policy) -> None:
    message = refusal(virtual_machine(), policy)
    assert "virtual machine (QEMU)" in message
    assert "hw:viommu_model" in message
    assert ("BMC display" if policy is GPUS else "none is selected") in message


def test_a_machine_whose_iommu_is_off_in_the_firmware() -> None:
    message = refusal(hosts.firmware_off(), NOTHING)
    assert "ACPI table DMAR" in message
    assert "VT-d" in message


def test_a_machine_with_groups_lacks_no_iommu() -> None:
    host = hosts.server()
    host.function("0000:00:1f.0", "8086:a0c8", "060100")
    message = refusal(host, NOTHING)
    assert "none is selected" in message
    assert "IOMMU" not in message


def without_groups(arguments: str, **firmware: list[str]) -> Host:
    """A host with a card, and no IOMMU that runs."""
    host = hosts.firmware_off()
    tables = firmware.get("tables", ["DMAR", "FACP"])
    software.firmware(host, "GenuineIntel", f"ro {arguments}", tables, [])
    return host


@pytest.mark.parametrize(
    "host",
    [
        without_groups("quiet", tables=["FACP"]),
        without_groups("intel_iommu=on", tables=["FACP"]),
        without_groups("intel_iommu=off"),
        without_groups("intel_iommu=on intel_iommu=off"),
        without_groups("intel_opmmu=on"),
        without_groups("quiet"),
        without_groups("intel_iommu=on"),
    ],
)
def test_check_and_verify_have_one_remedy_for_one_fault(host: Host) -> None:
    tree = host.tree()
    check = {
        finding.check: finding
        for finding in verification.check_host(tree, GPUS, (), lambda: BOOT)
    }
    (display, _) = verified(host)
    fixes = {cause.fix for cause in display.causes}
    assert check["iommu"].status is Status.FAIL
    assert check["iommu"].remedy in fixes
    assert check["groups"].remedy in fixes
    if check["firmware"].status is Status.FAIL:
        assert check["firmware"].remedy in fixes


def by_hand(group: int) -> Host:
    """A card on vfio-pci that nothing selects, its audio function is not."""
    host = hosts.server()
    hosts.port(host, "0000:00:04.0", "0000:04", 4, "8086")
    for number, ids, code, driver in (
        (0, "10de:24b0", "030000", "vfio-pci"),
        (1, "10de:228b", "040300", "snd_hda_intel"),
    ):
        host.function(
            f"0000:04:00.{number}", ids, code, under="0000:00:04.0",
            group=group, driver=driver, reset="bus",
        )  # fmt: skip
    return host


def test_what_was_bound_by_hand_is_verified_as_well() -> None:
    host = by_hand(20)
    assert [str(row.address) for row in verified(host, NOTHING)] == [
        "0000:04:00.0"
    ]
    both = [str(row.address) for row in verified(host, AUDIO_ONLY)]
    assert both == ["0000:04:00.0", "0000:04:00.1"]


def test_fixes_come_from_the_reasons_against_the_group() -> None:
    """The group has the root disk, which no guest can be given."""
    (row,) = verified(by_hand(10), NOTHING)
    shared = [c for c in row.causes if c.name == "group-shared"]
    assert shared
    for cause in shared:
        assert "the host needs 0000:01:00.0 for mount /" in cause.fix
        assert "144d:a80a" not in cause.fix
