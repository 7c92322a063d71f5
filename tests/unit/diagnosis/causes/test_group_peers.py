from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.causes import group_peers
from tests.unit.diagnosis.build import (
    LOST,
    UNGROUPED,
    Fields,
    bound,
    case,
    cause,
    confidence,
    found,
    member,
)
from tests.unit.diagnosis.examples.group_peers import IDS, STRANGER, twin
from tests.unit.isolation.values import gpu


def test_what_helps_a_group_that_is_shared() -> None:
    other_card = cause(group_peers.group_shared, case(*bound(), STRANGER))
    assert "ACS" in other_card.fix
    usb = member(gpu("06:00.2", driver="xhci_hcd", class_code=0x0C0330))
    same_card = cause(group_peers.group_shared, case(*bound(), usb))
    assert "'gpu-passthrough host enable'" in same_card.fix
    unread = member(gpu("07:00.0", driver=LOST))
    assert (
        confidence(group_peers.group_shared, case(*bound(), unread))
        == "possible"
    )


def test_without_groups_none_is_shared() -> None:
    usb = member(gpu("06:00.2", driver="xhci_hcd", iommu_group=None))
    assert confidence(group_peers.group_shared, case(*UNGROUPED, usb)) == ""


def test_a_twin_whose_override_is_unknown_is_likely_captured() -> None:
    rule = group_peers.identical_captured
    there: Fields = {"installation": found(IDS)}
    unread = twin("vfio-pci", driver_override=LOST)
    assert confidence(rule, case(*bound(), unread, **there)) == "likely"
    held = twin("vfio-pci", driver_override="pci-stub")
    assert confidence(rule, case(*bound(), held, **there)) == "likely"
