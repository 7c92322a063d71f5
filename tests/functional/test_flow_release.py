"""Release, quarantine and withdrawal, on a recorded host."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.compute.reset import HotReset
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import inventory, release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.sanitise import reset
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.allocation import (
    DISABLED_BY_NOVA,
    HostRecord,
)
from gpu_passthrough_plugin.model.function import (
    VFIO,
    Binding,
    Identity,
    Rebind,
)
from gpu_passthrough_plugin.model.instance import Phase
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts
from tests.functional.world import (
    HOST,
    OTHER,
    POLICY,
    UUID,
    World,
    guest,
    place,
    refused,
    wanted,
)

GPU, AUDIO = place("06:00.0"), place("06:00.1")
UNIT = UnitKey(HOST, GPU)
NOUVEAU = Binding("nouveau", None)
RESET = f"{HotReset(GPU, 18)}: OK"


def quarantined(world: World) -> str:
    """Boot, release, and why the unit is quarantined then."""
    (record,) = release.release(world.context(), UUID)
    assert record.state is State.QUARANTINED
    assert record.consumer is None
    assert world.guests() == frozenset()
    assert world.journal.read(UUID) is None
    (kept,) = world.journal.instances()
    assert kept.phase is Phase.QUARANTINED
    # Nothing is left half done: the host goes on.
    boot(world.context(), guest(OTHER, "other"), wanted())
    release.release(world.context(), OTHER)
    return record.reason


def test_a_card_that_became_another_is_quarantined(world: World) -> None:
    before = world.snapshot()
    boot(world.context(), guest(), wanted())
    world.kernel.identities[GPU] = Identity(0xFFFF, 0xFFFF)
    assert quarantined(world) == (
        "0000:06:00.0 does not respond: its config space reads ff"
    )
    assert world.kernel.binding(GPU) == VFIO
    message = refused(inventory.clear, world.context(), UNIT)
    assert str(UNIT) in message
    assert "0000:06:00.0 does not respond" in message
    world.kernel.identities[GPU] = Identity(0x10DE, 0x1430)
    assert inventory.clear(world.context(), UNIT).state is State.FREE
    assert world.snapshot() == before


def test_what_a_reset_leaves_dead_is_not_clean(world: World) -> None:
    """An MI300X: it answers now, and no longer once a guest had it."""
    unit = world.ledger.unit(UNIT).unit
    world.bindings.update(dict.fromkeys((GPU, AUDIO), VFIO))
    assert reset(world.context(), unit, {}).faults == ()
    first, second = unit.functions
    lost = dataclasses.replace(first, vendor_id=0x1002, product_id=0x74A1)
    accelerator = dataclasses.replace(unit, functions=(lost, second))
    faults = "; ".join(reset(world.context(), accelerator, {}).faults)
    assert str(GPU) in faults and "reboots" in faults


def test_a_card_that_fell_off_its_bus_is_quarantined(world: World) -> None:
    boot(world.context(), guest(), wanted())
    world.kernel.lose(AUDIO)
    world.said.clear()
    reason = quarantined(world)
    assert RESET not in world.said
    assert reason == (
        "0000:06:00.1 cannot be reset: 0000:06:00.1 is not in the recording;"
        " whether 0000:06:00.1 responds is unknown: missing"
    )
    assert "is unknown: missing" in refused(
        inventory.clear, world.context(), UNIT
    )


def test_a_driver_that_does_not_come_back_quarantines(world: World) -> None:
    before = world.snapshot()
    boot(world.context(), guest(), wanted())
    world.kernel.refuses.add(("bind to nouveau", GPU))
    assert quarantined(world) == (
        "cannot return 0000:06:00.0 to nouveau: the kernel does no bind to"
        " nouveau"
    )
    message = refused(inventory.clear, world.context(), UNIT)
    assert "cannot return 0000:06:00.0 to nouveau" in message
    assert world.ledger.unit(UNIT).state is State.QUARANTINED
    world.kernel.refuses.clear()
    inventory.clear(world.context(), UNIT)
    assert world.snapshot() == before


def test_a_release_after_the_host_was_restarted(world: World) -> None:
    before = world.snapshot()
    boot(world.context(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    world.kernel.restart(world.bindings)
    world.said.clear()
    (record,) = release.release(world.context(), UUID)
    assert record.state is State.FREE
    assert RESET in world.said
    assert world.snapshot() == before


def test_a_card_that_was_left_without_a_driver_is_bound_before_its_reset(
    world: World,
) -> None:
    """As libvirt leaves a managed function that had none."""
    boot(world.context(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    for address in (GPU, AUDIO):
        world.kernel.rebind(Rebind(address, VFIO, Binding(None, None)))
        real = world.tree.real(f"sys/bus/pci/devices/{address}")
        uevent = world.tree.files[f"{real}/uevent"]
        no_driver = uevent.replace(b"DRIVER=vfio-pci\n", b"")
        world.tree = RecordedTree(
            {**world.tree.files, f"{real}/uevent": no_driver},
            {
                path: target
                for path, target in world.tree.links.items()
                if path != f"{real}/driver"
            },
            world.tree.folders,
        )
    acts = Acts()
    (record,) = release.release(world.context(acts), UUID)
    assert record.state is State.FREE
    assert "rebind" in acts.done[: acts.done.index("reset")]


def test_a_card_that_answers_late_is_clean(world: World) -> None:
    boot(world.context(), guest(), wanted())
    world.kernel.asleep = 3
    context = dataclasses.replace(world.context(), reset_timeout_s=30)
    (record,) = release.release(context, UUID)
    assert record.state is State.FREE
    boot(world.context(), guest(), wanted())
    world.kernel.asleep = 99
    context = dataclasses.replace(world.context(), reset_timeout_s=0)
    (record,) = release.release(context, UUID)
    assert record.state is State.QUARANTINED


def test_an_instance_that_the_ledger_lost(world: World) -> None:
    boot(world.context(), guest(), wanted())
    (record,) = world.ledger.allocation(UUID).units
    for state in (State.RELEASING, State.SANITISING, State.FREE):
        record = world.ledger.move(record, state)
    before = world.snapshot()
    message = refused(release.release, world.context(), UUID)
    assert f"{UUID}.json" in message
    assert world.snapshot() == before


def test_what_moved_to_the_address_is_not_touched(world: World) -> None:
    """After a restart another device may be where the card was."""
    boot(world.context(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    world.kernel.restart(world.bindings | {GPU: Binding("nvme", None)})
    policy = Policy(POLICY.select, (selector.parse("0000:06:00.0"),))
    context = dataclasses.replace(world.context(), policy=policy)
    (record,) = release.release(context, UUID)
    assert record.state is State.QUARANTINED
    assert "differs from what was published" in record.reason
    assert world.kernel.binding(GPU) == Binding("nvme", None)
    assert world.kernel.reset_groups == []


def test_a_group_is_reset_by_the_number_that_it_has_now(world: World) -> None:
    old = [
        dataclasses.replace(u, iommu_group=99) for u in world.context().units()
    ]
    world.ledger.publish(HOST, old)
    boot(world.context(), guest(), wanted())
    release.release(world.context(), UUID)
    assert world.kernel.reset_groups == [18]


def test_a_release_without_a_journal(world: World) -> None:
    boot(world.context(), guest(), wanted())
    world.journal.remove(UUID)
    (record,) = release.release(world.context(), UUID)
    assert record.state is State.FREE
    assert world.guests() == frozenset()


def test_what_cannot_be_released(world: World) -> None:
    before = world.snapshot()
    assert "holds nothing" in refused(release.release, world.context(), UUID)
    assert "'x'" in refused(release.release, world.context(), "x")
    world.ledger.claim(wanted(), UUID)
    elsewhere = dataclasses.replace(world.context(), host="another")
    message = refused(release.release, elsewhere, UUID)
    assert UUID in message
    assert f"run this on {HOST}" in message
    release.release(world.context(), UUID)
    assert world.snapshot() == before


def test_a_claim_is_withdrawn(world: World) -> None:
    before = world.snapshot()
    assert "holds nothing" in refused(release.withdraw, world.context(), UUID)
    world.ledger.claim(wanted("gpu:2"), UUID)
    assert len(release.withdraw(world.context(), UUID).units) == 2
    assert world.snapshot() == before
    boot(world.context(), guest(), wanted())
    message = refused(release.withdraw, world.context(), UUID)
    assert str(UNIT) in message
    assert f"'gpu-passthrough instance release {UUID}'" in message


def test_the_operators_own_quarantine(world: World) -> None:
    before = world.snapshot()
    context = world.context()
    assert "not quarantined" in refused(inventory.clear, context, UNIT)
    world.ledger.claim(wanted(), UUID)
    message = refused(inventory.quarantine, context, UNIT, "smells")
    assert str(UNIT) in message
    assert UUID in message
    release.withdraw(context, UUID)
    record = inventory.quarantine(context, UNIT, "smells")
    assert (record.state, record.reason) == (State.QUARANTINED, "smells")
    # Another reason replaces it; none keeps it.
    again = inventory.quarantine(context, UNIT, "fan is loud")
    assert (again.state, again.reason) == (State.QUARANTINED, "fan is loud")
    for reason in (None, "fan is loud"):
        assert inventory.quarantine(context, UNIT, reason) == again
    elsewhere = dataclasses.replace(context, host="another")
    assert f"run this on {HOST}" in refused(inventory.clear, elsewhere, UNIT)
    unknown = UnitKey(HOST, place("07:00.0"))
    assert "no unit" in refused(inventory.clear, context, unknown)
    inventory.clear(context, UNIT)
    assert world.snapshot() == before


@dataclasses.dataclass
class Cordoned(SqlLedger):
    """A ledger whose host is cordoned already."""

    was: HostRecord

    def host(self, name: str) -> HostRecord:
        return dataclasses.replace(self.was, name=name)

    def cordon(
        self, host: str, reason: str, *, expected: str | None = None
    ) -> HostRecord:
        return dataclasses.replace(self.was, name=host, reason=reason)


@pytest.mark.parametrize(
    ("is_cordoned", "reason", "is_malformed", "becomes"),
    [
        (True, "fans are changed", False, "fans are changed"),
        (False, "", False, inventory.BY_OPERATOR),
        # Either may be over before the operator's own cordon is.
        (True, DISABLED_BY_NOVA, False, inventory.BY_OPERATOR),
        (True, "lost: no answer", False, inventory.BY_OPERATOR),
        (True, "fenced: by ann", False, inventory.BY_OPERATOR),
        (True, "address 'zz' is not valid", True, inventory.BY_OPERATOR),
    ],
)
def test_why_a_host_is_cordoned_without_a_new_reason(
    is_cordoned: bool, reason: str, is_malformed: bool, becomes: str
) -> None:
    was = HostRecord(HOST, 1, is_cordoned, reason, frozenset(), is_malformed)
    assert inventory.cordon(Cordoned(was), HOST, None).reason == becomes
    assert inventory.cordon(Cordoned(was), HOST, "roof").reason == "roof"


@pytest.mark.parametrize("reason", ["lost: its fans", "fenced: for now"])
def test_a_reason_that_an_agent_would_lift(world: World, reason: str) -> None:
    with pytest.raises(errors.Invalid, match="begin it otherwise"):
        inventory.cordon(world.ledger, HOST, reason)
    with pytest.raises(errors.Invalid, match="begin it otherwise"):
        inventory.quarantine(world.context(), UNIT, reason)


def test_a_variant_of_vfio_pci_keeps_its_function(world: World) -> None:
    """A guest took it with managed='no', and the next one is to as well."""
    variant = Binding("nvgrace_gpu_vfio_pci", "nvgrace_gpu_vfio_pci")
    real = world.tree.real(f"sys/bus/pci/devices/{GPU}")
    assert isinstance(real, str)
    uevent = world.tree.files[f"{real}/uevent"]
    world.tree = RecordedTree(
        {
            **world.tree.files,
            f"{real}/uevent": uevent.replace(
                b"DRIVER=vfio-pci", b"DRIVER=nvgrace_gpu_vfio_pci"
            ),
        },
        world.tree.links,
        (*world.tree.folders, f"{real}/vfio-dev/vfio0"),
    )
    world.kernel.rebind(Rebind(GPU, NOUVEAU, variant))
    held = boot(world.context(), guest(), wanted())
    assert [r.unit.key for r in held.units] == [UNIT]
    assert world.kernel.binding(GPU) == variant
    assert f"{GPU} is already on nvgrace_gpu_vfio_pci; kept there" in (
        world.said
    )
    (record,) = release.release(world.context(), UUID)
    assert record.state is State.FREE
    assert world.kernel.binding(GPU) == variant
    assert world.kernel.binding(AUDIO) == Binding("snd_hda_intel", None)
    assert reset(world.context(), record.unit, {}).faults == ()
    assert world.kernel.binding(GPU) == variant


def test_an_instance_of_a_restored_ledger_leaves_drivers_alone(
    world: World,
) -> None:
    """Only the ledger has it, and its functions are on the host's drivers."""
    before = world.snapshot()
    record = world.ledger.claim(wanted(), UUID).units[0]
    world.ledger.move(record, State.ACTIVE)
    acts = Acts()
    release.release(world.context(acts), UUID)
    assert acts.done.count("rebind") == 4 and "reset" in acts.done
    assert world.snapshot() == before
