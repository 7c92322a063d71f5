"""Boot, release and the verbs around them, on a recorded host."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import verbs
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.effect import VFIO, Binding
from gpu_passthrough_plugin.model.identity import Identity
from gpu_passthrough_plugin.model.instance import Phase
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.world import (
    HOST,
    OTHER,
    POLICY,
    UUID,
    Acts,
    World,
    guest,
    place,
    wanted,
)

GPU, AUDIO = place("06:00.0"), place("06:00.1")
UNIT = UnitKey(HOST, GPU)
NOUVEAU = Binding("nouveau", None)


def refused(call: object, *arguments: object) -> str:
    assert callable(call)
    with pytest.raises(errors.Error) as caught:
        call(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def functions(xml: str) -> tuple[Address, ...]:
    return domain_xml.parse(xml.encode(), "live").host_functions.addresses


def test_what_the_host_publishes(world: World) -> None:
    units = world.site().units()
    assert [str(unit.key) for unit in units] == [
        "hyhive/0000:06:00.0",
        "hyhive/0000:82:00.0",
        "hyhive/0000:83:00.0",
    ]
    assert [(u.numa_node, u.socket) for u in units] == [(0, 0), (1, 1), (1, 1)]
    assert [u.iommu_group for u in units] == [18, 38, 39]
    assert {u.resource_class for u in units} == {"CUSTOM_PCI_10DE_1430"}


def test_from_a_bare_host_to_a_guest_and_back(world: World) -> None:
    before = world.snapshot()
    site = world.site()
    held = boot(site, guest(), wanted())
    assert held.consumer == UUID
    assert held.states == (State.ACTIVE,)
    assert [str(r.unit.key) for r in held.units] == [f"{HOST}/0000:06:00.0"]
    xml = world.hypervisor.live_xml(UUID)
    assert xml is not None
    assert functions(xml) == (GPU, AUDIO)
    assert world.kernel.binding(GPU) == world.kernel.binding(AUDIO) == VFIO
    instance = world.journal.read(UUID)
    assert instance is not None
    assert instance.phase is Phase.ACTIVE
    assert [r.was for r in instance.rebinds] == [
        NOUVEAU, Binding("snd_hda_intel", None),
    ]  # fmt: skip
    records = verbs.release(site, UUID)
    assert [r.state for r in records] == [State.FREE]
    assert world.snapshot() == before
    assert "guest shut down" in world.said
    assert "bus reset of 0000:06:00.0 and all beside it done" in world.said


def test_several_guests_and_cards(world: World) -> None:
    before = world.snapshot()
    site = world.site()
    boot(site, guest(), wanted("gpu:2"))
    boot(site, guest(OTHER, "other"), wanted("gpu:1"))
    assert world.states() == ["active"] * 3
    message = refused(
        boot, site, guest("1" * 8 + UUID[8:], "third"), wanted("gpu:1")
    )
    assert message.startswith("boot failed at step 'claim': ")
    assert message.endswith("; undone: nothing was changed")
    verbs.release(site, UUID)
    assert world.states().count("active") == 1
    verbs.release(site, OTHER)
    assert world.snapshot() == before


def test_a_card_that_another_program_has_is_left_alone(world: World) -> None:
    """Started by hand, before this program came: its reset would kill it."""
    units = world.site().units()
    world.kernel.restart(
        world.bindings | {f.address: VFIO for u in units for f in u.functions}
    )
    world.kernel.held = {unit.key.address for unit in units}
    before = world.snapshot()
    message = refused(boot, world.site(), guest(), wanted())
    assert "step 'look for other users'" in message
    assert world.kernel.reset_groups == []
    assert world.snapshot() == before


def test_a_host_that_was_renamed_forgets_nothing(world: World) -> None:
    boot(world.site(), guest(), wanted())
    before = world.snapshot()
    renamed = dataclasses.replace(world.site(), host="renamed")
    message = refused(verbs.publish, renamed)
    assert message.endswith(f"set [DEFAULT] host = {HOST}")
    assert world.snapshot() == before
    verbs.release(world.site(), UUID)


def test_a_lost_journal_is_said(world: World) -> None:
    boot(world.site(), guest(), wanted())
    world.journal.remove(UUID)
    world.said.clear()
    verbs.release(world.site(), UUID)
    assert world.said[0].startswith(f"the journal knows nothing of {UUID}: ")
    assert world.kernel.binding(GPU) == VFIO


def test_a_claim_that_was_there_is_used(world: World) -> None:
    site = world.site()
    held = world.ledger.claim(wanted(), UUID)
    boot(site, guest(), wanted())
    assert world.ledger.allocation(UUID).states == (State.ACTIVE,)
    verbs.release(site, UUID)
    assert world.ledger.unit(held.units[0].unit.key).consumer is None


def test_a_claim_of_something_else_stays(world: World) -> None:
    world.ledger.claim(wanted("gpu:2"), UUID)
    before = world.snapshot()
    message = refused(boot, world.site(), guest(), wanted("gpu:1"))
    assert "holds gpu:2" in message
    assert world.snapshot() == before


def test_an_instance_that_is_there_already(world: World) -> None:
    site = world.site()
    boot(site, guest(), wanted())
    before = world.snapshot()
    for name in ("guest", "another"):
        message = refused(boot, site, guest(name=name), wanted())
        assert message == (
            f"instance {UUID} is there already; run 'gpu-passthrough"
            f" instance release {UUID}' first"
        )
    assert world.snapshot() == before
    world.hypervisor.destroy(UUID)
    assert "is there already" in refused(boot, site, guest(), wanted())


def test_a_guest_of_that_uuid_that_is_not_ours(world: World) -> None:
    world.hypervisor.start(guest().text.decode())
    before = world.snapshot()
    message = refused(boot, world.site(), guest(name="x"), wanted())
    assert "is there already" in message
    assert world.snapshot() == before


def test_a_name_that_is_taken(world: World) -> None:
    before = world.snapshot()
    message = refused(boot, world.site(), guest(name="test"), wanted())
    assert message == (
        "libvirt has a domain named 'test' already; give this one another"
        " name, or undefine that one"
    )
    assert world.snapshot() == before


def hostdev(bus: str) -> str:
    return (
        "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
        f"<address domain='0x0000' bus='0x{bus}' slot='0x00'"
        " function='0x1'/></source></hostdev>"
    )


def test_a_hostdev_of_another_instance_is_refused(world: World) -> None:
    site = world.site()
    boot(site, guest(OTHER, "other"), wanted())
    before = world.snapshot()
    for bus, who in (("06", f"instance {OTHER} holds"), ("82", "the ledger")):
        mine = guest(devices=hostdev(bus))
        message = refused(boot, site, mine, wanted())
        assert f"0000:{bus}:00.1" in message
        assert who in message
    assert world.snapshot() == before


def test_a_hostdev_of_the_operators_own_goes_along(world: World) -> None:
    site = world.site()
    boot(site, guest(devices=hostdev("01")), wanted())
    xml = world.hypervisor.live_xml(UUID) or ""
    assert functions(xml) == (
        place("01:00.1"), GPU, AUDIO,
    )  # fmt: skip
    verbs.release(site, UUID)
    assert world.kernel.binding(place("01:00.1")) == Binding("igb", None)


def test_a_group_that_changed_since_it_was_published(world: World) -> None:
    before = world.snapshot()
    for policy in (
        Policy(POLICY.select, (selector.parse("10de:0fba"),)),
        Policy((*POLICY.select, selector.parse("class=0403"))),
    ):
        site = dataclasses.replace(world.site(), policy=policy)
        message = refused(boot, site, guest(), wanted())
        assert message.startswith(
            "boot failed at step 'compare with the ledger': unit"
            f" {HOST}/0000:06:00.0 is no longer what was published of it"
        )
        assert message.endswith("undone: unit hyhive/0000:06:00.0 is free")
        assert world.snapshot() == before


def test_a_guest_that_libvirt_does_not_start(world: World) -> None:
    before = world.snapshot()
    # libvirt takes no slot twice.
    twice = "<address type='pci' domain='0' bus='0x05' slot='0x00'/>"
    devices = f"<video>{twice}</video><sound>{twice}</sound>"
    message = refused(
        boot,
        world.site(),
        guest(devices=f"{devices}<video><model type='nonsense'/></video>"),
        wanted(),
    )
    assert message.startswith(
        "boot failed at step 'start': libvirt did not start the guest: "
    )
    assert message.endswith(
        "undone: 0000:06:00.1 is back on snd_hda_intel, 0000:06:00.0 is back"
        " on nouveau, unit hyhive/0000:06:00.0 is free"
    )
    assert world.snapshot() == before


def test_drivers_stay_where_the_operator_wants_them(world: World) -> None:
    site = dataclasses.replace(world.site(), restores_drivers=False)
    boot(site, guest(), wanted())
    verbs.release(site, UUID)
    assert world.states() == ["free"] * 3
    assert world.kernel.binding(GPU) == world.kernel.binding(AUDIO) == VFIO
    boot(site, guest(), wanted())
    verbs.release(site, UUID)
    assert world.states() == ["free"] * 3


def quarantined(world: World) -> str:
    """Boot, release, and why the unit is quarantined then."""
    (record,) = verbs.release(world.site(), UUID)
    assert record.state is State.QUARANTINED
    assert record.consumer is None
    assert world.guests() == frozenset()
    assert world.journal.read(UUID) is None
    (kept,) = world.journal.instances()
    assert kept.phase is Phase.QUARANTINED
    # Nothing is left half done: the host goes on.
    boot(world.site(), guest(OTHER, "other"), wanted())
    verbs.release(world.site(), OTHER)
    return record.reason


def test_a_card_that_became_another_is_quarantined(world: World) -> None:
    before = world.snapshot()
    boot(world.site(), guest(), wanted())
    world.kernel.identities[GPU] = Identity(0xFFFF, 0xFFFF)
    assert quarantined(world) == (
        "0000:06:00.0 does not answer: its config space reads ff"
    )
    assert world.kernel.binding(GPU) == VFIO
    message = refused(verbs.clear, world.site(), UNIT)
    assert message == (
        f"unit {UNIT} is not clean: 0000:06:00.0 does not answer: its config"
        " space reads ff; power-cycle the host, then try again"
    )
    world.kernel.identities[GPU] = Identity(0x10DE, 0x1430)
    assert verbs.clear(world.site(), UNIT).state is State.FREE
    assert world.snapshot() == before


def test_a_unit_that_is_another_group_now_is_not_cleared(
    world: World,
) -> None:
    """As after a function was taken off its bus and found again."""
    verbs.quarantine(world.site(), UNIT, "fan is loud")
    policy = Policy((*POLICY.select, selector.parse("class=0403")))
    site = dataclasses.replace(world.site(), policy=policy)
    message = refused(verbs.clear, site, UNIT)
    assert "is no longer what was published of it" in message
    assert world.ledger.unit(UNIT).state is State.QUARANTINED
    assert verbs.clear(world.site(), UNIT).state is State.FREE


def test_a_card_that_does_not_reset_is_quarantined(world: World) -> None:
    before = world.snapshot()
    boot(world.site(), guest(), wanted())
    world.kernel.refuses.add(("reset", GPU))
    assert quarantined(world) == "the kernel does no reset"
    verbs.clear(world.site(), UNIT)
    assert world.snapshot() == before


def test_a_card_that_fell_off_its_bus_is_quarantined(world: World) -> None:
    boot(world.site(), guest(), wanted())
    world.kernel.lose(AUDIO)
    world.said.clear()
    reason = quarantined(world)
    assert "bus reset of 0000:06:00.0 and all beside it done" not in world.said
    assert reason == (
        "0000:06:00.1 cannot be reset: 0000:06:00.1 is not in the recording;"
        " whether 0000:06:00.1 answers is unknown: missing"
    )
    assert "is unknown: missing" in refused(verbs.clear, world.site(), UNIT)


def test_a_driver_that_does_not_come_back_quarantines(world: World) -> None:
    before = world.snapshot()
    boot(world.site(), guest(), wanted())
    world.kernel.refuses.add(("bind to nouveau", GPU))
    assert quarantined(world) == (
        "0000:06:00.0 is not back on nouveau: the kernel does no bind to"
        " nouveau"
    )
    message = refused(verbs.clear, world.site(), UNIT)
    assert "is not back on nouveau" in message
    assert world.ledger.unit(UNIT).state is State.QUARANTINED
    world.kernel.refuses.clear()
    verbs.clear(world.site(), UNIT)
    assert world.snapshot() == before


def test_clear_leaves_drivers_where_the_operator_wants_them(
    world: World,
) -> None:
    boot(world.site(), guest(), wanted())
    world.kernel.refuses.add(("reset", GPU))
    verbs.release(world.site(), UUID)
    site = dataclasses.replace(world.site(), restores_drivers=False)
    verbs.clear(site, UNIT)
    assert world.kernel.binding(GPU) == VFIO
    assert world.journal.instances() == ()


def test_a_release_after_the_host_was_restarted(world: World) -> None:
    before = world.snapshot()
    boot(world.site(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    world.kernel.restart(world.bindings)
    world.said.clear()
    (record,) = verbs.release(world.site(), UUID)
    assert record.state is State.FREE
    assert "bus reset of 0000:06:00.0 and all beside it done" in world.said
    assert world.snapshot() == before


def test_a_card_that_answers_late_is_clean(world: World) -> None:
    boot(world.site(), guest(), wanted())
    world.kernel.asleep = 3
    site = dataclasses.replace(world.site(), reset_timeout_s=30)
    (record,) = verbs.release(site, UUID)
    assert record.state is State.FREE
    boot(world.site(), guest(), wanted())
    world.kernel.asleep = 99
    site = dataclasses.replace(world.site(), reset_timeout_s=0)
    (record,) = verbs.release(site, UUID)
    assert record.state is State.QUARANTINED


def test_an_instance_that_the_ledger_lost(world: World) -> None:
    boot(world.site(), guest(), wanted())
    (record,) = world.ledger.allocation(UUID).units
    for state in (State.RELEASING, State.SANITISING, State.FREE):
        record = world.ledger.move(record, state)
    before = world.snapshot()
    message = refused(verbs.release, world.site(), UUID)
    assert f"the ledger has lost instance {UUID}" in message
    assert world.snapshot() == before


def test_what_moved_to_the_address_is_not_touched(world: World) -> None:
    """After a restart another device may be where the card was."""
    boot(world.site(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    world.kernel.restart(world.bindings | {GPU: Binding("nvme", None)})
    policy = Policy(POLICY.select, (selector.parse("0000:06:00.0"),))
    site = dataclasses.replace(world.site(), policy=policy)
    (record,) = verbs.release(site, UUID)
    assert record.state is State.QUARANTINED
    assert "is no longer what was published" in record.reason
    assert world.kernel.binding(GPU) == Binding("nvme", None)
    assert world.kernel.reset_groups == []


def test_a_group_is_reset_by_the_number_that_it_has_now(world: World) -> None:
    old = [
        dataclasses.replace(u, iommu_group=99) for u in world.site().units()
    ]
    world.ledger.publish(HOST, old)
    boot(world.site(), guest(), wanted())
    verbs.release(world.site(), UUID)
    assert world.kernel.reset_groups == [18]


def test_a_card_comes_after_the_documents_own_buses(world: World) -> None:
    port = "<controller type='pci' index='5' model='pcie-root-port'/>"
    boot(world.site(), guest(devices=port), wanted())
    xml = world.hypervisor.live_xml(UUID) or ""
    parsed = domain_xml.parse(xml.encode(), "live")
    assert max(parsed.buses) == 6


def test_a_release_without_a_journal(world: World) -> None:
    boot(world.site(), guest(), wanted())
    world.journal.remove(UUID)
    (record,) = verbs.release(world.site(), UUID)
    assert record.state is State.FREE
    assert world.guests() == frozenset()


def test_what_cannot_be_released(world: World) -> None:
    before = world.snapshot()
    assert "holds nothing" in refused(verbs.release, world.site(), UUID)
    assert "is no UUID" in refused(verbs.release, world.site(), "x")
    world.ledger.claim(wanted(), UUID)
    elsewhere = dataclasses.replace(world.site(), host="another")
    message = refused(verbs.release, elsewhere, UUID)
    assert message == (
        f"instance {UUID} is on host {HOST}, and this is another; run it there"
    )
    verbs.release(world.site(), UUID)
    assert world.snapshot() == before


def test_a_claim_is_withdrawn(world: World) -> None:
    before = world.snapshot()
    assert "holds nothing" in refused(verbs.withdraw, world.site(), UUID)
    world.ledger.claim(wanted("gpu:2"), UUID)
    assert len(verbs.withdraw(world.site(), UUID).units) == 2
    assert world.snapshot() == before
    boot(world.site(), guest(), wanted())
    message = refused(verbs.withdraw, world.site(), UUID)
    assert message == (
        f"unit {UNIT} of {UUID} is active; run 'gpu-passthrough instance"
        f" release {UUID}' on {HOST}"
    )


def test_the_operators_own_quarantine(world: World) -> None:
    before = world.snapshot()
    site = world.site()
    assert "not quarantined" in refused(verbs.clear, site, UNIT)
    world.ledger.claim(wanted(), UUID)
    message = refused(verbs.quarantine, site, UNIT, "smells")
    assert message == (
        f"unit {UNIT} is claimed for {UUID}; release that first"
    )
    verbs.withdraw(site, UUID)
    record = verbs.quarantine(site, UNIT, "smells")
    assert (record.state, record.reason) == (State.QUARANTINED, "smells")
    again = verbs.quarantine(site, UNIT, "other")
    assert again.reason == "smells"
    elsewhere = dataclasses.replace(site, host="another")
    assert "run it there" in refused(verbs.clear, elsewhere, UNIT)
    unknown = UnitKey(HOST, place("07:00.0"))
    assert "no unit" in refused(verbs.clear, site, unknown)
    verbs.clear(site, UNIT)
    assert world.snapshot() == before


def test_publishing_again_changes_nothing(world: World) -> None:
    boot(world.site(), guest(), wanted())
    before = world.snapshot()
    report = verbs.publish(world.site())
    assert (report.added, report.changed, report.removed) == ((), (), ())
    assert world.snapshot() == before


def test_a_boot_that_another_took_for_dead(world: World) -> None:
    """The lock was lost; the guest must not outlive its claim."""
    before = world.snapshot()

    def steal(act: str) -> None:
        if act == "start":
            verbs.publish(unlocked)

    unlocked = dataclasses.replace(world.site(), lock=nullcontext)
    site = world.site(Acts(before=steal))
    message = refused(boot, site, guest(), wanted())
    assert message.startswith("boot failed at step 'check the guest': ")
    assert message.endswith("; undone: guest stopped by force")
    assert world.snapshot() == before


def test_a_claim_withdrawn_under_a_boot(world: World) -> None:
    """Another host's command takes another lock."""
    before = world.snapshot()
    world.ledger.claim(wanted("gpu:2"), UUID)
    seen: list[str] = []

    def withdraw(act: str) -> None:
        seen.append(act)
        if seen.count("journal") == 2 and act == "journal":
            for record in world.ledger.allocation(UUID).units:
                world.ledger.move(record, State.FREE)

    site = world.site(Acts(before=withdraw))
    message = refused(boot, site, guest(), wanted("gpu:2"))
    assert message.startswith("boot failed at step 'prepare': ")
    assert "rebind" not in seen
    assert world.snapshot() == before
