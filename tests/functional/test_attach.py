"""Units of domains that libvirt has defined, with its driver for tests."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.flow import attach, recovery, release
from gpu_passthrough_plugin.flow.boot import Keeping, boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.hook import HookMode
from gpu_passthrough_plugin.model.instance import Phase
from gpu_passthrough_plugin.model.unit import UnitKey
from tests.functional.acts import URI, Acts, Crash
from tests.functional.hooked import AUDIO, GPU
from tests.functional.test_agent import GONE, one_pass
from tests.functional.test_flow_interrupted import recover
from tests.functional.test_hook_flow import Libvirt
from tests.functional.test_instances import asked, command
from tests.functional.world import (
    HOST,
    OTHER,
    UUID,
    World,
    guest,
    place,
    refused,
    wanted,
)

# Those of one NUMA node.
PAIR = ("0000:82:00.0", "0000:82:00.1", "0000:83:00.0", "0000:83:00.1")
FREED = UnitKey(HOST, place(GPU))
FIRST, LAST = UnitKey(HOST, place(PAIR[0])), UnitKey(HOST, place(PAIR[2]))
# What libvirt keeps of it, it has to keep.
RICH = (
    "<metadata><my:own xmlns:my='urn:my'><!-- a note --><my:b>1 &lt; 2"
    "</my:b><my:c><![CDATA[a < b & c]]></my:c></my:own></metadata>"
)
DEVICES = (
    "<controller type='pci' index='0' model='pcie-root'/>"
    "<controller type='pci' index='1' model='pcie-root-port'/>"
    "<graphics type='vnc' passwd='secret'/>"
)


def define(world: World, devices: str = DEVICES) -> str:
    """Define a domain; return its definition, as libvirt has it."""
    text = guest(devices=devices).text.decode()
    text = text.replace("<memory>", f"{RICH}<memory>")
    world.hypervisor._connection.defineXML(text)
    return definition(world)


def definition(world: World) -> str:
    xml = world.hypervisor.defined_xml(UUID, is_whole=True)
    assert xml is not None
    return xml


def attached(context: HostContext) -> None:
    attach.attach(context, UUID, wanted())


def detached(context: HostContext) -> None:
    attach.detach(context, UUID)


def defined(context: HostContext) -> None:
    boot(context, guest(), wanted(), Keeping.AUTOSTARTED)


def functions(xml: str) -> list[tuple[str, bool]]:
    domain = domain_xml.parse(xml.encode(), "definition")
    return [
        (str(f.address), f.is_managed) for f in domain.host_functions.functions
    ]


def test_a_definition_before_and_after(world: World) -> None:
    before, xml = world.snapshot(), define(world)
    assert "secret" in xml and "a note" in xml
    held = attach.attach(world.context(), UUID, wanted("gpu:2"))
    assert [str(state) for state in held.states] == ["claimed"]
    given = definition(world)
    assert functions(given) == [(address, True) for address in PAIR]
    assert "multifunction='on'" in given and "secret" in given
    instance = world.journal.read(UUID)
    assert instance is not None and instance.phase is Phase.ATTACHED
    assert instance.definition is not None
    assert instance.definition.ports == (2, 3)
    assert world.snapshot().bindings == before.bindings
    (record,) = attach.detach(world.context(), UUID, [LAST])
    assert (record.unit.key, str(record.state)) == (LAST, "free")
    assert functions(definition(world)) == [(a, True) for a in PAIR[:2]]
    assert world.states() == ["free", "claimed", "free"]
    (record,) = attach.detach(world.context(), UUID)
    assert (record.unit.key, str(record.state)) == (FIRST, "free")
    assert definition(world) == xml
    assert world.snapshot() == before


def test_what_an_operator_edits_meanwhile_stays(world: World) -> None:
    define(world)
    attached(world.context())
    text = definition(world).replace("secret", "another")
    world.hypervisor._connection.defineXML(text)
    detached(world.context())
    assert "another" in definition(world)
    assert functions(definition(world)) == []


def test_starts_and_ends_by_the_hook(world: World) -> None:
    """The claim outlasts each run, and a power cut; each is cleaned."""
    before, xml = world.snapshot(), define(world)
    attached(world.context())
    # The mode in which guests of others take primaries alone.
    hook = Libvirt(world, HookMode.PRIMARY)
    for operation in ("prepare", "release"):
        assert hook.calls(operation, definition(world).encode()) == 0
        if operation == "prepare":
            assert world.states()[0] == "active"
    assert hook.ended == [UUID]
    acts = Acts()
    recovery.release_ended(world.context(acts), UUID)
    assert "reset" in acts.done
    assert world.states() == ["claimed", "free", "free"]
    assert world.snapshot().bindings == before.bindings
    assert hook.calls("prepare", definition(world).encode()) == 0
    # The host loses its power: no hook tells that the guest ended.
    world.kernel.reset_groups.clear()
    assert one_pass(world) == [GONE]
    assert world.kernel.reset_groups == [18]
    assert world.states() == ["claimed", "free", "free"]
    assert one_pass(world) == []
    detached(world.context())
    assert (definition(world), world.snapshot()) == (xml, before)


def test_a_unit_that_its_run_left_dirty(world: World) -> None:
    define(world)
    attached(world.context())
    hook = Libvirt(world)
    assert hook.calls("prepare", definition(world).encode()) == 0
    world.kernel.identities[place(GPU)] = Identity(0xFFFF, 0xFFFF)
    hook.calls("release", definition(world).encode())
    recovery.release_ended(world.context(), UUID)
    assert world.states()[0] == "quarantined"
    assert hook.calls("prepare", definition(world).encode()) == 1
    detached(world.context())
    assert functions(definition(world)) == []
    assert world.journal.read(UUID) is None


@pytest.mark.parametrize("is_undefined", [False, True])
def test_a_definition_that_lost_its_functions(
    world: World, is_undefined: bool
) -> None:
    before, xml = world.snapshot(), define(world)
    attached(world.context())
    assert one_pass(world) == []
    (domain,) = world.domains()
    if is_undefined:
        domain.undefine()
    else:
        world.hypervisor._connection.defineXML(xml)
    assert one_pass(world) == [GONE]
    assert world.snapshot() == before
    assert one_pass(world) == []


def test_a_ledger_from_before_the_attach(world: World) -> None:
    """The definition has a card that is offered: it is claimed again."""
    define(world)
    attached(world.context())
    (record,) = world.ledger.allocation(UUID).units
    for state in ("preparing", "releasing", "sanitising", "free"):
        record = world.ledger.move(record, type(record.state)(state))
    assert world.states() == ["free"] * 3
    found = one_pass(world)
    assert (Case.LEDGER_BEHIND, Act.RECORD) in [f[:2] for f in found]
    assert world.states() == ["claimed", "free", "free"]
    assert one_pass(world) == []


def test_a_boot_that_defines(world: World) -> None:
    before = world.snapshot()
    defined(world.context())
    assert world.states() == ["active", "free", "free"]
    (domain,) = world.domains()
    assert (domain.isActive(), domain.autostart()) == (1, 1)
    assert functions(definition(world)) == [(GPU, True), (AUDIO, True)]
    assert world.kernel.binding(place(GPU)).driver == "vfio-pci"
    assert "exists already" in refused(defined, world.context())
    release.release(world.context(), UUID)
    assert world.domains() == []
    assert world.snapshot() == before


def test_what_was_edited_is_not_undefined(world: World) -> None:
    before = world.snapshot()
    defined(world.context())
    (domain,) = world.domains()
    domain.setMetadata(0, "edited", None, None, 2)
    release.release(world.context(), UUID)
    assert "edited" in definition(world)
    assert functions(definition(world)) == []
    assert world.snapshot() == before


@pytest.mark.parametrize("keeping", Keeping)
def test_a_uuid_that_another_domain_has(
    world: World, keeping: Keeping
) -> None:
    """As of a copied document that was given another name alone."""
    xml, before = define(world), world.snapshot()
    copy = guest(UUID, "copy")
    message = refused(boot, world.context(), copy, wanted(), keeping)
    assert UUID in message and "'guest'" in message
    assert (definition(world), world.snapshot()) == (xml, before)


def test_a_domain_that_is_defined_meanwhile(world: World) -> None:
    before = world.snapshot()

    def define_first(act: str) -> None:
        if act == "move to preparing":
            define(world)

    message = refused(defined, world.context(Acts(before=define_first)))
    assert "'define'" in message
    assert functions(definition(world)) == []
    assert world.snapshot() == before


def test_a_domain_that_is_defined_after_a_boot_died(world: World) -> None:
    """The boot came to no definition: this one is the operator's."""
    before = world.snapshot()
    at = acts_of(world, defined).index("define") + 1
    release.release(world.context(), UUID)
    with pytest.raises(Crash):
        defined(world.context(Acts(crash_at=at)))
    xml = define(world)
    recover(world.context())
    assert (definition(world), world.snapshot()) == (xml, before)


def acts_of(world: World, act: Callable[[HostContext], None]) -> list[str]:
    acts = Acts()
    act(world.context(acts))
    return acts.done


@pytest.mark.parametrize("keeps_claim", [False, True])
@pytest.mark.parametrize("act", [attached, defined])
def test_each_act_that_fails_is_undone(
    world: World, act: Callable[[HostContext], None], keeps_claim: bool
) -> None:
    xml = define(world) if act is attached else ""
    if keeps_claim:
        world.ledger.claim(wanted(), UUID)
    before = world.snapshot()
    number = 0
    while True:
        number += 1
        acts = Acts(fail_at=number)
        try:
            act(world.context(acts))
        except errors.Unavailable:
            assert world.snapshot() == before, acts.done
            now = definition(world) if xml else ""
            assert (now, len(world.domains())) == (xml, bool(xml))
        else:
            break
    assert number > 5


@pytest.mark.parametrize("does_it", [False, True])
@pytest.mark.parametrize("act", [attached, detached, defined])
def test_one_that_dies_at_each_act(
    world: World, act: Callable[[HostContext], None], does_it: bool
) -> None:
    """Completed or undone by the next command."""
    xml = define(world) if act is not defined else ""
    bare = world.snapshot()
    number, is_over, ends = 0, False, set()
    while not is_over:
        number += 1
        if act is detached:
            attached(world.context())
        acts = Acts(crash_at=number, does_it=does_it)
        try:
            act(world.context(acts))
            is_over = True
        except Crash:
            recover(world.context())
        instance = world.journal.read(UUID)
        is_settled = instance is not None and instance.phase is Phase.ATTACHED
        assert is_settled or instance is None, acts.done
        ends.add(is_settled)
        if is_settled:
            state = "active" if act is defined else "claimed"
            assert world.states() == [state, "free", "free"]
            assert len(functions(definition(world))) == 2
            release.release(world.context(), UUID)
        assert world.snapshot() == bare, acts.done
        if xml:
            assert definition(world) == xml
        else:
            assert world.domains() == []
    assert ends == ({False} if act is detached and does_it else {False, True})


def test_a_release_of_what_libvirt_saved(world: World) -> None:
    define(world)
    attached(world.context())
    (domain,) = world.domains()
    domain.create()
    domain.managedSave()
    before = world.snapshot()
    for act in (release.plan, release.release):
        assert "managedsave-remove" in refused(act, world.context(), UUID)
    assert world.snapshot() == before


def test_a_release_of_a_domain_of_the_operators(world: World) -> None:
    before, xml = world.snapshot(), define(world)
    attached(world.context())
    context = world.context()
    with context.connect() as hypervisor:
        hypervisor.start_defined(UUID)
    release.release(context, UUID)
    assert (definition(world), world.snapshot()) == (xml, before)


def test_a_function_that_the_definition_takes_otherwise(world: World) -> None:
    """The release stays where it came to; other commands go on."""
    before = world.snapshot()
    define(world)
    attached(world.context())
    interface = (
        "<interface type='hostdev'><source><address type='pci' domain='0'"
        f" bus='0x{GPU[5:7]}' slot='0' function='{GPU[-1]}'/></source>"
        "</interface>"
    )
    define(world, interface)
    assert GPU in refused(release.release, world.context(), UUID)
    for _ in range(2):
        recover(world.context())
        assert world.states() != ["free"] * 3
        assert any(GPU in line for line in world.said)
    boot(world.context(), guest(OTHER, "other"), wanted())
    release.release(world.context(), OTHER)
    define(world)
    recover(world.context())
    assert world.snapshot() == before


def test_the_commands(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """The functions are not in this machine: none of them is clean."""
    cli = command(world, capfd, URI)
    define(world)
    status, out, err = cli("instance", "attach", "guest", "--request", "gpu:1")
    assert (status, out) == (2, "")
    assert "gpu" in err
    attached(world.context())
    (row,) = asked(cli, "instance", "list")
    assert (row["Guest"], row["Definition"]) == ("shut off", "defined")
    assert (row["State"], row["By"]) == ("claimed", "command")
    before = world.snapshot()
    (row,) = asked(cli, "instance", "detach", UUID[:6], "--dry-run")
    assert row == {"Unit": str(FREED), "State": "claimed", "Reason": ""}
    status, out, err = cli("instance", "detach", "guest", "--unit", PAIR[0])
    assert (status, out, err.count("\n")) == (2, "", 2)
    assert PAIR[0] in err and str(FREED) in err
    assert world.snapshot() == before
    status, out, err = cli("instance", "detach", "guest", "-f", "json")
    (row,) = json.loads(out)
    assert (status, row["State"]) == (1, "quarantined")
    assert functions(definition(world)) == []
    path = world.folder / "guest.xml"
    path.write_bytes(guest().text)
    for option in ("--define", "--autostart"):
        status, out, err = cli(
            "instance", "boot", str(path), "--request", "gpu:1", option,
            "--dry-run",
        )  # fmt: skip
        assert (status, out) == (2, "")
