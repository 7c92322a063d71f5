"""Boot and publishing, on a recorded host."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest

from gpu_passthrough_plugin.compute.reset import HotReset
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import inventory, release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.address_space import Firmware
from gpu_passthrough_plugin.model.function import VFIO, Binding
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


def functions(xml: str) -> tuple[Address, ...]:
    return domain_xml.parse(xml.encode(), "live").host_functions.addresses


def test_what_the_host_publishes(world: World) -> None:
    units = world.context().units()
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
    context = world.context()
    held = boot(context, guest(), wanted())
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
    records = release.release(context, UUID)
    assert [r.state for r in records] == [State.FREE]
    assert world.snapshot() == before
    assert "guest shut down" in world.said
    assert RESET in world.said


def test_several_guests_and_cards(world: World) -> None:
    before = world.snapshot()
    context = world.context()
    boot(context, guest(), wanted("gpu:2"))
    boot(context, guest(OTHER, "other"), wanted("gpu:1"))
    assert world.states() == ["active"] * 3
    message = refused(
        boot, context, guest("1" * 8 + UUID[8:], "third"), wanted("gpu:1")
    )
    assert message.startswith("boot failed at step 'claim': ")
    assert message.endswith("; rolled back: nothing was changed")
    release.release(context, UUID)
    assert world.states().count("active") == 1
    release.release(context, OTHER)
    assert world.snapshot() == before


def test_a_card_that_another_program_has_is_left_alone(world: World) -> None:
    """Started by hand, before this program came: its reset would kill it."""
    units = world.context().units()
    world.kernel.restart(
        world.bindings | {f.address: VFIO for u in units for f in u.functions}
    )
    world.kernel.held = {unit.key.address for unit in units}
    before = world.snapshot()
    message = refused(boot, world.context(), guest(), wanted())
    assert "step 'look for other users'" in message
    assert world.kernel.reset_groups == []
    assert world.snapshot() == before


def test_a_card_that_a_process_has_open_is_left_alone(world: World) -> None:
    """kubevirt#8549: the kernel waits until the process closes it."""
    tree = world.tree
    card = tree.real(f"sys/bus/pci/devices/{AUDIO}/sound/card1/controlC1")
    process = {"proc/812/comm": b"pipewire\n"}
    world.tree = RecordedTree(
        {**tree.files, f"{card}/uevent": b"DEVNAME=snd/controlC1\n"} | process,
        {**tree.links, "proc/812/fd/7": "/dev/snd/controlC1"},
        tree.folders,
    )
    before = world.snapshot()
    message = refused(boot, world.context(), guest(), wanted())
    for datum in ("'look for other users'", str(AUDIO), "pipewire (process"):
        assert datum in message
    assert world.snapshot() == before


def test_a_host_that_was_renamed_forgets_nothing(world: World) -> None:
    boot(world.context(), guest(), wanted())
    before = world.snapshot()
    renamed = dataclasses.replace(world.context(), host="renamed")
    message = refused(inventory.publish, renamed)
    assert message.endswith(f"set [DEFAULT] host = {HOST}")
    assert world.snapshot() == before
    release.release(world.context(), UUID)


def test_a_lost_journal_is_said(world: World) -> None:
    boot(world.context(), guest(), wanted())
    world.journal.remove(UUID)
    world.said.clear()
    release.release(world.context(), UUID)
    assert UUID in world.said[0]
    assert world.kernel.binding(GPU) == VFIO


def test_a_claim_that_was_there_is_used(world: World) -> None:
    context = world.context()
    held = world.ledger.claim(wanted(), UUID)
    boot(context, guest(), wanted())
    assert world.ledger.allocation(UUID).states == (State.ACTIVE,)
    release.release(context, UUID)
    assert world.ledger.unit(held.units[0].unit.key).consumer is None


def test_a_claim_of_something_else_stays(world: World) -> None:
    world.ledger.claim(wanted("gpu:2"), UUID)
    before = world.snapshot()
    message = refused(boot, world.context(), guest(), wanted("gpu:1"))
    assert "holds gpu:2" in message
    assert world.snapshot() == before


def test_an_instance_that_is_there_already(world: World) -> None:
    context = world.context()
    boot(context, guest(), wanted())
    before = world.snapshot()
    for name in ("guest", "another"):
        message = refused(boot, context, guest(name=name), wanted())
        assert f"'gpu-passthrough instance release {UUID}'" in message
    assert world.snapshot() == before
    world.hypervisor.destroy(UUID)
    assert UUID in refused(boot, context, guest(), wanted())


def test_a_guest_of_that_uuid_that_is_not_ours(world: World) -> None:
    world.hypervisor.start(guest().text.decode())
    before = world.snapshot()
    message = refused(boot, world.context(), guest(name="x"), wanted())
    assert UUID in message
    assert world.snapshot() == before


def test_a_name_that_is_taken(world: World) -> None:
    before = world.snapshot()
    message = refused(boot, world.context(), guest(name="test"), wanted())
    assert "'test'" in message
    assert world.snapshot() == before


@pytest.mark.parametrize("has_uuid", [True, False])
def test_a_domain_that_is_defined_is_booted(
    world: World, has_uuid: bool
) -> None:
    """From the document that it was defined by, which may have no UUID."""
    libvirt = world.hypervisor._connection
    defined = libvirt.defineXML(guest().text.decode())
    text = guest().text.decode()
    if not has_uuid:
        text = text.replace(f"<uuid>{UUID}</uuid>", "")
    document = domain_xml.parse(text.encode(), "guest.xml")
    try:
        held = boot(world.context(), document, wanted())
        assert held.consumer == UUID
        assert functions(world.hypervisor.live_xml(UUID) or "") == (GPU, AUDIO)
        message = refused(boot, world.context(), document, wanted())
        assert f"'gpu-passthrough instance release {UUID}'" in message
        release.release(world.context(), UUID)
        assert world.hypervisor.named("guest") == (UUID, False)
        assert functions(defined.XMLDesc()) == ()
        other = guest(OTHER)
        assert UUID in refused(boot, world.context(), other, wanted())
        defined.create()
        defined.managedSave()
        message = refused(boot, world.context(), document, wanted())
        assert "managedsave-remove" in message
    finally:
        if defined.hasManagedSaveImage():
            defined.managedSaveRemove()
        defined.undefine()


def hostdev(at: str) -> str:
    bus, slot, function = at.replace(".", ":").split(":")
    return (
        "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
        f"<address domain='0x0000' bus='0x{bus}' slot='0x{slot}'"
        f" function='0x{function}'/></source></hostdev>"
    )


def test_a_hostdev_of_another_instance_is_refused(world: World) -> None:
    context = world.context()
    boot(context, guest(OTHER, "other"), wanted())
    before = world.snapshot()
    for bus, who in (("06", f"instance {OTHER} holds"), ("82", "the ledger")):
        mine = guest(devices=hostdev(f"{bus}:00.1"))
        message = refused(boot, context, mine, wanted())
        assert f"0000:{bus}:00.1" in message
        assert who in message
    assert world.snapshot() == before


def test_a_hostdev_of_the_operators_own_goes_along(world: World) -> None:
    context = world.context()
    boot(context, guest(devices=hostdev("00:1a.0")), wanted())
    xml = world.hypervisor.live_xml(UUID) or ""
    assert functions(xml) == (
        place("00:1a.0"), GPU, AUDIO,
    )  # fmt: skip
    release.release(context, UUID)
    assert world.kernel.binding(place("00:1a.0")) == Binding("ehci-pci", None)


def test_a_hostdev_that_the_host_needs_is_refused(world: World) -> None:
    """The seed's root disk and default route, though no unit has them."""
    before = world.snapshot()
    for at, use in (("00:1f.2", "mount /"), ("01:00.0", "default route")):
        own = guest(devices=hostdev(at))
        message = refused(boot, world.context(), own, wanted())
        for datum in (f"0000:{at}", use):
            assert datum in message
        assert "vfio-pci" not in message
    assert world.snapshot() == before


def test_a_group_that_changed_since_it_was_published(world: World) -> None:
    before = world.snapshot()
    for policy in (
        Policy(POLICY.select, (selector.parse("10de:0fba"),)),
        Policy((*POLICY.select, selector.parse("class=0403"))),
    ):
        context = dataclasses.replace(world.context(), policy=policy)
        message = refused(boot, context, guest(), wanted())
        assert message.startswith(
            "boot failed at step 'compare with the ledger': unit"
            f" {HOST}/0000:06:00.0 differs from what was published"
        )
        assert message.endswith(
            "rolled back: unit hyhive/0000:06:00.0 is free"
        )
        assert world.snapshot() == before


def test_a_guest_that_libvirt_does_not_start(world: World) -> None:
    before = world.snapshot()
    # libvirt takes no slot twice.
    twice = "<address type='pci' domain='0' bus='0x05' slot='0x00'/>"
    devices = f"<video>{twice}</video><sound>{twice}</sound>"
    message = refused(
        boot,
        world.context(),
        guest(devices=f"{devices}<video><model type='nonsense'/></video>"),
        wanted(),
    )
    assert message.startswith(
        "boot failed at step 'start': libvirt did not start the guest: "
    )
    assert message.endswith(
        "rolled back: 0000:06:00.1 is back on snd_hda_intel, 0000:06:00.0 is"
        " back on nouveau, unit hyhive/0000:06:00.0 is free"
    )
    assert world.snapshot() == before


def test_drivers_stay_where_the_operator_wants_them(world: World) -> None:
    context = dataclasses.replace(world.context(), restores_drivers=False)
    boot(context, guest(), wanted())
    release.release(context, UUID)
    assert world.states() == ["free"] * 3
    assert world.kernel.binding(GPU) == world.kernel.binding(AUDIO) == VFIO
    boot(context, guest(), wanted())
    release.release(context, UUID)
    assert world.states() == ["free"] * 3


def test_a_card_comes_after_the_documents_own_buses(world: World) -> None:
    port = "<controller type='pci' index='5' model='pcie-root-port'/>"
    boot(world.context(), guest(devices=port), wanted())
    xml = world.hypervisor.live_xml(UUID) or ""
    parsed = domain_xml.parse(xml.encode(), "live")
    assert max(parsed.buses) == 6


def test_publishing_again_changes_nothing(world: World) -> None:
    boot(world.context(), guest(), wanted())
    before = world.snapshot()
    report = inventory.publish(world.context())
    assert (report.added, report.changed, report.removed) == ((), (), ())
    assert world.snapshot() == before


def test_a_boot_that_another_took_for_dead(world: World) -> None:
    """The lock was lost; the guest must not outlive its claim."""
    before = world.snapshot()

    def steal(act: str) -> None:
        if act == "start":
            inventory.publish(unlocked)

    unlocked = dataclasses.replace(world.context(), lock=nullcontext)
    context = world.context(Acts(before=steal))
    message = refused(boot, context, guest(), wanted())
    assert message.startswith("boot failed at step 'check the guest': ")
    assert message.endswith("; rolled back: guest powered off")
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

    context = world.context(Acts(before=withdraw))
    message = refused(boot, context, guest(), wanted("gpu:2"))
    assert message.startswith("boot failed at step 'prepare': ")
    assert "rebind" not in seen
    assert world.snapshot() == before


def test_a_guest_that_cannot_map_its_cards(world: World) -> None:
    """It is told of with the number, and starts."""
    size = 128 << 30
    (path,) = (
        path for path in world.tree.files if path.endswith(f"{GPU}/resource")
    )
    resource = f"{size:#x} {2 * size - 1:#x} 0x14220c\n".encode()
    tree = RecordedTree({**world.tree.files, path: resource}, world.tree.links)
    context = dataclasses.replace(world.context(), tree=tree)
    domain = guest()
    uefi = domain.platform._replace(firmware=Firmware.OVMF)
    boot(context, dataclasses.replace(domain, platform=uefi), wanted())
    (warning,) = (line for line in world.said if "warning: " in line)
    assert "need 128 GiB above 4 GiB" in warning
    assert "X-PciMmio64Mb,string=131072" in warning
    assert UUID in world.guests()
    release.release(context, UUID)
    world.said.clear()
    boot(world.context(), domain, wanted())
    assert not any("warning: " in line for line in world.said)
