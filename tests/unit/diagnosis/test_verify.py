from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis import verify
from gpu_passthrough_plugin.diagnosis.evidence import Case
from gpu_passthrough_plugin.diagnosis.verify import Verified
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.function import Header
from gpu_passthrough_plugin.model.group import (
    VFIO_NO_IOMMU,
    Member,
    Reason,
)
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.unit.diagnosis.build import (
    Fields,
    bound,
    card,
    case,
    conf,
    enabled,
    evidence,
    found,
    member,
    names,
    target,
)
from tests.unit.isolation.values import audio, facts, gpu

LOST = Unknown(Why.UNREADABLE, "Permission denied")
GPU, AUDIO = target(gpu()), target(audio())


def rows(*members: Member, **fields: Fields) -> tuple[Verified, ...]:
    return verify.findings(evidence(*members, **fields), (GPU, AUDIO))


def row(*members: Member, **fields: Fields) -> Verified:
    return rows(*members, **fields)[0]


def test_what_was_enabled_is_expected_and_else_what_was_chosen() -> None:
    nothing = evidence()
    assert verify.expected(nothing, [AUDIO, GPU]) == (GPU, AUDIO)
    done = evidence(enablement=enabled(AUDIO))
    assert verify.expected(done, [GPU]) == (AUDIO,)


def test_a_row_for_each_target() -> None:
    first, second = rows(*bound(reset_methods=("bus",)))
    assert (first.address, second.address) == (GPU.address, AUDIO.address)
    assert (first.expected, first.found) == ("vfio-pci", "vfio-pci")
    assert (first.iommu_group, first.reset_methods) == (1, ("bus",))
    assert (first.status, first.causes) == (Status.PASS, ())


def test_another_vfio_driver_will_do() -> None:
    first, second = card(driver="nvidia")
    assert first.detail is not None
    on_vfio = first._replace(detail=first.detail._replace(is_on_vfio=True))
    assert row(on_vfio, second).status is Status.PASS


@pytest.mark.parametrize(
    ("driver", "found"), [("nouveau", "nouveau"), (None, "none")]
)
def test_another_driver_fails(driver: str | None, found: str) -> None:
    failed = row(*card(driver=driver))
    assert (failed.status, failed.found) == (Status.FAIL, found)
    assert names(failed.causes)[0] == "not-enabled"


def test_a_function_that_is_gone_fails() -> None:
    gone = row(card()[1])
    assert (gone.status, gone.found) == (Status.FAIL, "gone")
    assert (gone.iommu_group, gone.reset_methods) == (MISSING, MISSING)
    assert names(gone.causes) == ["gone"]


def test_an_identical_card_may_be_where_it_went() -> None:
    twin = member(gpu("82:00.0"))
    gone = row(card()[1], twin)
    assert names(gone.causes) == ["gone", "moved"]
    assert "0000:82:00.0" in gone.causes[1].text
    assert gone.causes[1].confidence == "possible"


def test_on_vfio_pci_and_in_no_group_fails() -> None:
    """Such a thing is for guests that may do anything to the host."""
    failed = row(*card(driver="vfio-pci", iommu_group=None))
    assert failed.status is Status.FAIL


def test_what_is_lost_fails_on_vfio_pci_as_well() -> None:
    dead = row(member(gpu(driver="vfio-pci"), header=Header.DEAD))
    assert (dead.status, names(dead.causes)) == (Status.FAIL, ["dead"])
    moved = row(member(gpu(driver="vfio-pci", product_id=0x1431)))
    assert (moved.status, names(moved.causes)) == (Status.FAIL, ["moved"])


def test_on_vfio_pci_without_an_iommu_fails() -> None:
    """VFIO's no-IOMMU mode makes groups, which isolate nothing."""
    members = bound()
    unsafe = Reason(VFIO_NO_IOMMU, "group 1 isolates nothing", "add an IOMMU")
    failed = row(
        *members,
        facts=facts(iommus=(), hypervisor="KVM", acpi_tables=frozenset()),
        reasons={m.address: (unsafe,) for m in members},
    )
    assert (failed.found, failed.iommu_group) == ("vfio-pci", 1)
    assert (failed.status, names(failed.causes)) == (
        Status.FAIL,
        ["no-iommu-group"],
    )
    assert failed.causes[0].fix == "add an IOMMU"


def test_what_was_seen_warns_and_what_might_be_passes() -> None:
    seen = row(*bound(reset_methods=()))
    assert (seen.status, names(seen.causes)) == (Status.WARN, ["no-reset"])
    might = row(*bound(boot_vga=True), log=("efifb: probing for efifb",))
    assert (might.status, names(might.causes)) == (
        Status.PASS,
        ["framebuffer"],
    )


def test_a_card_below_no_bridge_cannot_be_reset() -> None:
    """Where the kernel tells of resets at all, as it does of another one."""
    alone = bound(reset_methods=MISSING, bridges=())
    other = member(gpu("82:00.0"), bridges=(address.parse("80:02.0"),))
    assert names(row(*alone, other).causes) == ["no-reset"]
    old = member(gpu("82:00.0"), reset_methods=MISSING)
    assert names(row(alone[0], old).causes) == []


def test_what_could_not_be_read_is_never_fine() -> None:
    driver = row(*card(driver=LOST))
    assert driver.status is Status.WARN
    assert driver.found == f"unknown: {LOST}"
    assert names(driver.causes) == ["unreadable"]
    group = row(*card(driver="vfio-pci", iommu_group=LOST))
    assert (group.status, group.iommu_group) == (Status.WARN, LOST)
    assert names(group.causes) == ["unreadable"]


def test_nothing_readable_makes_nothing_more_than_possible() -> None:
    blind = HostFacts(LOST, LOST, LOST, LOST, LOST, LOST, LOST, LOST)
    function = gpu(
        driver="nouveau", iommu_group=None, vendor_id=LOST, product_id=LOST
    )
    unread = found({"/etc/modprobe.d/vfio.conf": ""})._replace(
        files={"/etc/modprobe.d/vfio.conf": LOST}
    )
    blinded = member(
        function,
        header=LOST, driver_override=LOST, reset_methods=LOST, sriov=LOST,
        boot_vga=LOST, modules=LOST,
    )  # fmt: skip
    causes = row(
        blinded, facts=blind, log=LOST, boot_id=LOST, installation=unread
    ).causes
    sure = [c.name for c in causes if c.confidence != "possible"]
    # That another driver has it was read.
    assert sure == ["competing-driver"]
    assert names(causes)[0] == "firmware-off"
    assert "unknown: unreadable (Permission denied)" in causes[0].evidence


def test_a_case_asks_for_its_own_target() -> None:
    alone = Case(GPU, card()[0], evidence(*card()))
    assert alone.is_target(GPU.address)
    assert not alone.is_target(AUDIO.address)
    assert case().is_target(AUDIO.address)


def test_what_somebody_meant_for_vfio_by_hand() -> None:
    """A host on which nobody ran this product, and nothing is selected."""
    bound = member(gpu(driver="vfio-pci"))
    named = member(audio(driver="snd_hda_intel"))
    pinned = member(gpu("82:00.0", product_id=1), driver_override="vfio-pci")
    other = member(gpu("83:00.0", product_id=2, driver="nouveau"))
    unread = member(gpu("84:00.0", vendor_id=LOST))
    host = evidence(
        bound, named, pinned, other, unread,
        **conf("options vfio-pci ids=10de:0fba"),
    )  # fmt: skip
    assert verify.intended(host) == (bound, named, pinned)
    assert verify.intended(evidence(other, unread)) == ()
