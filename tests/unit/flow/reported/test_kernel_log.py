"""Hosts of public reports whose kernel log has the cause."""

from __future__ import annotations

from gpu_passthrough_plugin.model.finding import Status
from tests.trees import reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import told, verified

PORT = "00:01.1 0604 1022:1483 group=1 driver=pcieport below=0b\n"


def card(ids: str, rest: str = "", cpu: str = "amd") -> Host:
    """A card on vfio-pci behind a port, with its audio function."""
    return reported.host(
        f"""{PORT}
        0b:00.0 0302 {ids} group=20 driver=vfio-pci under=00:01.1 {rest}
        0b:00.1 0403 {ids} group=20 driver=vfio-pci under=00:01.1
        """,
        cpu=cpu,
    )


def test_a_card_that_the_iommu_waits_for_is_named() -> None:
    """gnif/vendor-reset#81: a Vega that does not respond to ivhd0."""
    log = (
        "iommu ivhd0: AMD-Vi: Event logged [IOTLB_INV_TIMEOUT"
        " device=0000:0b:00.0 address=0x1002147e0]",
        "AMD-Vi: Completion-Wait loop timed out",
    )
    row = verified(card("1002:687f", "reset=bus"), log=log)["0b:00.0"]
    assert row.status is Status.WARN
    assert "iommu-timeout [likely]" in told(row)
    assert "power-cycle" in told(row)


def test_a_waiting_iommu_that_names_nobody_blames_nobody() -> None:
    """gnif/vendor-reset#66: VT-d writes SID 0 for a Polaris."""
    log = (
        "DMAR: VT-d detected Invalidation Completion Error: SID 0",
        "DMAR: QI HEAD: UNKNOWN qw0 = 0x0, qw1 = 0x0",
        "DMAR: VT-d detected Invalidation Time-out Error: SID 0",
        "DMAR: Invalidation Time-out Error (ITE) cleared",
    )
    host = card("1002:67c7", "reset=device_specific,bus", "intel")
    answer = told(verified(host, log=log)["0b:00.0"])
    assert "iommu-timeout [possible]" in answer and "noats" in answer


def test_a_drivers_own_translations_are_not_the_iommus() -> None:
    """intel/linux-intel-lts#54: the GuC of i915 times out."""
    host = reported.host(
        """
        00:02.0 0300 8086:46a6 group=0 driver=i915 vga=1 vfs=7/1
        00:02.1 0300 8086:46a6 group=20 driver=vfio-pci physical=00:02.0
        """
    )
    line = "GT0: TLB invalidation response timed out for seqno 12"
    log = (f"i915 0000:00:02.0: [drm] *ERROR* {line}",)
    row = verified(host, log=log)["00:02.1"]
    assert row.status is Status.PASS and not row.causes


def test_a_card_that_sleeps_is_not_well_because_it_was_reset() -> None:
    """kata-containers/kata-containers#11708: H100 after many guests."""
    log = (
        "vfio-pci 0000:0b:00.0: Unable to change power state from D3cold to"
        " D0, device inaccessible",
        "vfio-pci 0000:0b:00.0: resetting",
        "vfio-pci 0000:0b:00.0: reset done",
    )
    row = verified(card("10de:2331", "reset=flr,bus dead"), log=log)["0b:00.0"]
    assert row.status is Status.FAIL
    assert "d3cold [certain]" in told(row)
    assert "disable_idle_d3=1" in told(row)


def test_who_waits_has_not_given_up() -> None:
    """bryansteiner/gpu-passthrough-tutorial#39: a laptop's card resumes."""
    host = card("10de:1f15", "reset=bus", "intel")
    text = "nvidia 0000:0b:00.0: not ready {}ms after resume; {}"
    waiting = text.format(8191, "waiting")
    (row, _) = verified(host, log=[waiting]).values()
    assert row.status is Status.PASS and not row.causes
    lost = [waiting, text.format(65535, "giving up")]
    answer = told(verified(host, log=lost)["0b:00.0"])
    assert "reset-failed [likely]" in answer
    assert "did not respond after resume" in answer
    assert "vendor-reset" not in answer


def test_a_message_of_three_lines_names_its_card() -> None:
    """NVIDIA/NVSentinel#155: an L40 that has no Xid."""
    host = reported.host("b3:00.0 0302 10de:26b5 group=20")
    log = (
        "NVRM: The NVIDIA GPU 0000:b3:00.0",
        "NVRM: (PCI ID: 10de:26b5) installed in this system has",
        "NVRM: fallen off the bus and is not responding to commands.",
        "NVRM: The NVIDIA probe routine failed for 1 device(s).",
    )
    answer = told(verified(host, log=log)["b3:00.0"])
    assert "gpu-fault" in answer and "fallen off the bus" in answer


def test_an_error_and_what_it_asks_for_are_one_cause() -> None:
    """NVIDIA/open-gpu-kernel-modules#1151: Xid 79, and then 154."""
    log = (
        "NVRM: Xid (PCI:0000:0b:00): 79, GPU has fallen off the bus.",
        "NVRM: GPU 0000:0b:00.0: GPU has fallen off the bus.",
        "NVRM: Xid (PCI:0000:0b:00): 154, GPU recovery action changed from"
        " 0x0 (None) to 0x2 (Node Reboot Required)",
    )
    row = verified(card("10de:2b85", "reset=bus"), log=log)["0b:00.0"]
    (cause,) = row.causes
    assert cause.name == "gpu-fault" and "Xid 79" in cause.text
    assert "Node Reboot Required" in cause.evidence


def test_the_address_of_a_bridge_for_others_is_no_function() -> None:
    """A Gemini Lake board with PCI behind a bridge: faults of 05:00.0."""
    host = reported.host(
        """
        00:02.0 0300 8086:3185 group=0 driver=vfio-pci vga=1
        00:13.0 0604 8086:31d8 group=4 driver=pcieport below=04
        04:00.0 0604 1b21:1080 group=4 below=05 under=00:13.0
        05:02.0 0100 9005:00c0 group=4 driver=aic7xxx under=04:00.0
        """
    )
    log = (
        "DMAR: [DMA Read NO_PASID] Request device [05:00.0] fault addr"
        " 0x12174000 [fault reason 0x02] Present bit in context entry is"
        " clear",
    )
    (row,) = verified(host, log=log).values()
    assert row.status is Status.PASS and not row.causes
