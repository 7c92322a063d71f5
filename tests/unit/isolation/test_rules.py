from __future__ import annotations

from typing import Any

import pytest

from gpu_passthrough_plugin.isolation import partition, verdict
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.isolation.rules import RULES
from gpu_passthrough_plugin.model import address, selector
from gpu_passthrough_plugin.model.function import (
    Header,
    PhysicalFunction,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.group import (
    Group,
    GroupAttributes,
    ReservedRegion,
)
from gpu_passthrough_plugin.model.host_facts import CpuVendor, HostUse
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.unit.isolation.values import (
    GPUS,
    Fields,
    audio,
    facts,
    function,
    gpu,
    judged,
    port,
    rules,
)

LOST = Unknown(Why.UNREADABLE, "Permission denied")
GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")


def test_a_card_in_a_group_of_its_own_is_assignable() -> None:
    group = judged(gpu(), audio())
    assert group.verdict.is_assignable
    assert group.verdict.notes == ()
    assert [str(m.role) for m in group.members] == ["primary", "companion"]


def test_a_function_in_no_group() -> None:
    group = judged(
        gpu(iommu_group=None), facts=facts(iommus=(), kernel_arguments=())
    )
    (reason,) = group.verdict.reasons
    assert reason.rule == "no-iommu"
    assert "without intel_iommu=on" in reason.text
    assert group.number is None


def test_a_group_that_is_unknown_is_not_taken_for_none() -> None:
    for unknown in (LOST, MISSING, Unknown(Why.MALFORMED, "x")):
        (reason,) = judged(gpu(iommu_group=unknown)).verdict.reasons
        assert reason.rule == "no-iommu"
        assert str(unknown) in reason.text


def test_a_function_that_may_be_a_member() -> None:
    functions = [gpu(iommu_group=18), audio("07:00.0", iommu_group=LOST)]
    part, _ = partition.parts(functions, GPUS)
    (reason,) = verdict.judge(part, facts(), GPUS).verdict.reasons
    assert reason.rule == "incomplete"
    assert "0000:07:00.0" in reason.text


HOST_BRIDGE = function("00:03.0", "1022:1482", 0x060000)


def test_a_host_bridge_without_a_driver_is_in_nobodys_way() -> None:
    """As in the groups of Ryzen boards: sGPUpt#16 and many others."""
    dummy = function("00:18.0", "1022:1440", 0x130000)
    group = judged(HOST_BRIDGE, port("00:03.1"), gpu(), audio(), dummy)
    assert group.verdict.is_assignable
    assert [str(m.role) for m in group.members] == [
        "bystander",
        "bridge",
        "bystander",
        "primary",
        "companion",
    ]
    assert [m.address for m in group.endpoints] == [GPU, AUDIO]


@pytest.mark.parametrize(
    ("name", "fields", "is_refused"),
    [
        (None, {"iommus": ()}, False),
        (LOST, {"iommus": ()}, True),
        (LOST, {}, False),
        (LOST, {"iommus": LOST}, False),
        (LOST, {"iommus": (), "cpu_vendor": CpuVendor.ARM}, False),
        (LOST, {"iommus": (), "cpu_vendor": LOST}, False),
        ("vfio-noiommu", {}, True),
    ],
)
def test_groups_without_an_iommu_are_vfios_own(
    name: str | Unknown | None, fields: Fields, is_refused: bool
) -> None:
    """Recordings of older releases have no names of groups."""
    group = judged(
        gpu(),
        facts=facts(**fields),
        attributes=GroupAttributes(name, ()),
    )
    assert ("vfio-no-iommu" in rules(group)) is is_refused


def test_no_selector_makes_a_boards_bridge_a_primary() -> None:
    everything = Policy((selector.parse("*:*"),))
    isa = function("00:1f.0", "8086:0284", 0x060100)
    group = judged(HOST_BRIDGE, isa, gpu(), policy=everything)
    assert [m.address for m in group.primaries] == [GPU]
    (reason,) = judged(HOST_BRIDGE, policy=everything).verdict.reasons
    assert reason.rule == "no-primary"


def test_a_switch_of_nvlink_is_no_bystander() -> None:
    nvswitch = function("05:00.0", "10de:1af1", 0x068000)
    group = judged(gpu(), nvswitch)
    assert rules(group) == ["not-selected"]
    assert "--select 0000:05:00.0,0000:06:00.0'" in remedies(group)


def remedies(group: Group) -> str:
    return "\n".join(reason.remedy for reason in group.verdict.reasons)


def test_no_remedy_hands_out_what_the_host_needs() -> None:
    """A host bridge on a driver, the root disk, the processor's USB."""
    disk = function("08:00.0", "15b7:5030", 0x010802, driver="nvme")
    usb = function("06:00.3", "1022:1639", 0x0C0330, driver="xhci_hcd")
    bridge = HOST_BRIDGE._replace(driver="ie31200_edac")
    uses = (HostUse(disk.address, "mount / (/dev/nvme0n1p2)"),)
    for member in (disk, usb, bridge):
        group = judged(gpu(), member, facts=facts(uses=uses))
        rule = "host-critical" if member is disk else "not-selected"
        assert rules(group) == [rule]
        assert str(member.address) in group.verdict.reasons[0].text
        assert str(member.address) not in remedies(group)
    unread = judged(gpu(), disk, facts=facts(uses=LOST))
    assert str(disk.address) not in remedies(unread)


def test_a_group_of_vfios_no_iommu_mode_isolates_nothing() -> None:
    group = judged(gpu(), attributes=GroupAttributes("vfio-noiommu", ()))
    (reason,) = group.verdict.reasons
    assert reason.rule == "vfio-no-iommu"
    assert "no-IOMMU" in reason.text


def test_memory_that_the_firmware_wants_one_to_one() -> None:
    msi = ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi")
    direct = ReservedRegion(0xF5C83000, 0xF5FFFFFF, "direct")
    relaxed = direct._replace(kind="direct-relaxable")
    for regions, is_free in (
        ((msi, relaxed), True),
        ((), True),
        (MISSING, True),
        ((msi, direct), False),
    ):
        group = judged(gpu(), attributes=GroupAttributes(None, regions))
        assert rules(group) == ([] if is_free else ["reserved-region"])
    group = judged(gpu(), attributes=GroupAttributes(None, LOST))
    assert rules(group) == ["incomplete"]
    text = (
        judged(gpu(), attributes=GroupAttributes(None, (direct,)))
        .verdict.reasons[0]
        .text
    )
    assert "0xf5c83000-0xf5ffffff" in text


def test_nothing_selected() -> None:
    for group in (judged(audio()), judged(port())):
        (reason,) = group.verdict.reasons
        assert reason.rule == "no-primary"
        assert "host enable --select ADDRESS" in reason.remedy


def test_what_the_host_lives_on_stays() -> None:
    uses = (
        HostUse(AUDIO, "mount / (/dev/sda2)"),
        HostUse(AUDIO, "swap (/dev/sda3)", ("sda", "sda3")),
        HostUse(address.parse("00:1f.2"), "mount /boot (/dev/sda1)"),
    )
    group = judged(gpu(), audio(), facts=facts(uses=uses))
    assert rules(group) == ["host-critical"] * 2
    texts = [reason.text for reason in group.verdict.reasons]
    assert all("0000:06:00.1" in text for text in texts)
    assert "mount / (/dev/sda2)" in texts[0]
    assert "swap (/dev/sda3) over sda, sda3" in texts[1]


def test_a_bridge_that_the_host_uses_does_not_count() -> None:
    uses = (HostUse(port().address, "default route (eno1)"),)
    assert judged(port(), gpu(), facts=facts(uses=uses)).verdict.is_assignable


def test_unknown_uses_block_only_what_may_carry_the_host() -> None:
    for code, may_carry in (
        (0x010601, True),
        (0x020000, True),
        (0x0C0330, True),
        (0x0D1100, True),
        (0x000000, True),
        (0x040300, False),
        (0x058000, False),
        (0x120000, False),
    ):
        companion = function("06:00.2", "10de:1111", code)
        group = judged(gpu(), companion, facts=facts(uses=LOST))
        wanted = ["host-critical"] if may_carry else []
        assert rules(group) == wanted, hex(code)
    (reason,) = judged(
        gpu(),
        function("06:00.2", "10de:1111", 0x0C0330),
        facts=facts(uses=LOST),
    ).verdict.reasons
    assert "0000:06:00.2" in reason.text
    assert f"is unknown ({LOST})" in reason.text
    assert "gpu-passthrough host record" in reason.remedy


def test_an_unknown_class_may_carry_the_host() -> None:
    group = judged(gpu(), audio(class_code=LOST), facts=facts(uses=LOST))
    assert rules(group) == ["host-critical", "identity"]


def test_the_only_console_stays() -> None:
    primary = {"06:00.0": {"boot_vga": True}}
    for consoles, is_only in (
        (("tty0",), True),
        (("tty1", "tty0"), True),
        ((), True),
        (LOST, True),
        (("tty0", "ttyS0"), False),
        (("ttyS0",), False),
        (("hvc0",), False),
        (("ttyAMA0", "tty0"), False),
    ):
        group = judged(
            gpu(), audio(), facts=facts(consoles=consoles), details=primary
        )
        assert rules(group) == (["only-console"] if is_only else []), consoles
    (reason,) = judged(
        gpu(), facts=facts(consoles=("tty0",)), details=primary
    ).verdict.reasons
    assert "0000:06:00.0" in reason.text
    assert "console=ttyS0" in reason.remedy


def test_only_the_firmwares_display_is_the_console() -> None:
    here = facts(consoles=("tty0",))
    for boot_vga, is_only in (
        (True, True),
        (False, False),
        (None, False),
        (MISSING, True),
        (LOST, True),
    ):
        group = judged(
            gpu(), facts=here, details={"06:00.0": {"boot_vga": boot_vga}}
        )
        assert rules(group) == (["only-console"] if is_only else []), boot_vga
        if isinstance(boot_vga, Unknown):
            assert "unknown" in group.verdict.reasons[0].text


def test_a_bmcs_display_stays_whatever_is_active() -> None:
    for ids in ("102b:0532", "102b:0522", "1a03:2000", "19e5:1711"):
        display = function("0a:03.0", ids, 0x030000)
        (reason,) = judged(display).verdict.reasons
        assert reason.rule == "bmc-display"
        assert "0000:0a:03.0" in reason.text
    millennium = function("0a:03.0", "102b:0519", 0x030000)
    assert judged(millennium).verdict.is_assignable


def test_a_bmcs_display_as_companion_stays_too() -> None:
    display = function("06:00.1", "1a03:2000", 0x030000)
    only_nvidia = Policy((selector.parse("10de:*"),))
    group = judged(gpu(), display, policy=only_nvidia)
    assert rules(group) == ["bmc-display", "not-selected"]


def test_a_dead_member() -> None:
    group = judged(
        gpu(), audio(), details={"06:00.1": {"header": Header.DEAD}}
    )
    (reason,) = group.verdict.reasons
    assert reason.rule == "dead"
    assert "0000:06:00.1" in reason.text
    assert "power-cycle" in reason.remedy


def test_a_header_that_could_not_be_read_is_not_fine() -> None:
    group = judged(gpu(), details={"06:00.0": {"header": LOST}})
    (reason,) = group.verdict.reasons
    assert reason.rule == "dead"
    assert "0000:06:00.0" in reason.text
    assert f"is unknown: config space {LOST}" in reason.text


def test_a_bridge_does_not_answer_for_the_group() -> None:
    for header in (Header.DEAD, LOST):
        group = judged(port(), gpu(), details={"00:02.0": {"header": header}})
        assert group.verdict.is_assignable, header


def test_an_identity_that_is_unknown() -> None:
    fields: dict[str, Any]
    for field, name in (
        ("vendor_id", "vendor id"),
        ("product_id", "product id"),
        ("class_code", "class"),
        ("driver", "driver"),
    ):
        fields = {field: LOST}
        group = judged(gpu(), audio(**fields))
        (reason,) = group.verdict.reasons
        assert reason.rule == "identity"
        assert f"{name} of 0000:06:00.1 is unknown: {LOST}" in reason.text


def test_a_physical_function_with_virtual_ones() -> None:
    group = judged(
        gpu(), details={"06:00.0": {"sriov": PhysicalFunction(16, 4)}}
    )
    (reason,) = group.verdict.reasons
    assert reason.rule == "sriov-enabled"
    assert "0000:06:00.0 has 4 virtual functions" in reason.text
    assert "sriov_numvfs" in reason.remedy
    for role in (PhysicalFunction(16, 0), VirtualFunction(GPU), None):
        ok = judged(gpu(), details={"06:00.0": {"sriov": role}})
        assert ok.verdict.is_assignable, role
    lost = judged(gpu(), details={"06:00.0": {"sriov": LOST}})
    assert rules(lost) == ["sriov-enabled"]
    assert "is unknown" in lost.verdict.reasons[0].text


def test_what_is_excluded_keeps_its_whole_group() -> None:
    policy = Policy(GPUS.select, (selector.parse("10de:0fba"),))
    (reason,) = judged(gpu(), audio(), policy=policy).verdict.reasons
    assert reason.rule == "excluded"
    assert "0000:06:00.1" in reason.text
    assert "[discovery] exclude" in reason.remedy
    itself = Policy(GPUS.select, (selector.parse("0000:06:00.0"),))
    assert rules(judged(gpu(), audio(), policy=itself)) == ["excluded"]


def test_another_card_in_the_group_is_not_taken_along() -> None:
    nvme = function("07:00.0", "144d:a808", 0x010802)
    (reason,) = judged(gpu(), audio(), nvme).verdict.reasons
    assert reason.rule == "not-selected"
    assert "0000:07:00.0" in reason.text
    assert "--select 0000:06:00.0,0000:07:00.0'" in reason.remedy
    named = Policy((*GPUS.select, selector.parse("144d:*")))
    assert judged(gpu(), nvme, policy=named).verdict.is_assignable


def test_every_reason_is_given_and_has_a_remedy() -> None:
    group = judged(
        gpu(vendor_id=LOST),
        audio(),
        function("07:00.0", "144d:a808", 0x010802),
        facts=facts(
            consoles=("tty0",), uses=(HostUse(GPU, "mount / (/dev/sda2)"),)
        ),
        policy=Policy(GPUS.select, (selector.parse("10de:0fba"),)),
        details={
            "06:00.0": {"boot_vga": True, "sriov": PhysicalFunction(8, 8)},
            "06:00.1": {"header": Header.DEAD},
        },
    )
    assert rules(group) == [
        "host-critical",
        "only-console",
        "dead",
        "identity",
        "sriov-enabled",
        "excluded",
        "not-selected",
    ]
    assert all(r.text and r.remedy for r in group.verdict.reasons)
    assert group.verdict.notes == ()
    # No primary, no IOMMU, a reserved region, an open port, a vGPU, the BMC's
    # display and a stray function need groups of their own.
    assert len(RULES) == 12
