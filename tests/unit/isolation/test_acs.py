"""Groups that the hardware may not isolate, of public reports."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import pci_config
from gpu_passthrough_plugin.formats.pci_config import Port
from gpu_passthrough_plugin.isolation import acs, partition, verdict
from gpu_passthrough_plugin.isolation.partition import Part, Policy
from gpu_passthrough_plugin.isolation.units import unit
from gpu_passthrough_plugin.model import address, trait
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.trees import config_space
from tests.unit.isolation.values import GPUS, audio, detail, facts, gpu
from tests.unit.isolation.values import port as bridge

SWITCH = address.parse("02:08.0")
ROOT = address.parse("00:02.0")
OVERRIDDEN = facts(
    kernel_arguments=("pcie_acs_override=downstream,multifunction",)
)
ALL, OFF = (0x5F, 0x1D), (0x5F, 0x00)


def read(
    kind: int, bits: tuple[int, int] | None = None, size: int = 4096
) -> Port:
    port = pci_config.port(config_space.port(kind, bits, size=size))
    assert isinstance(port, Port)
    return port


def part(
    *ports: tuple[address.Address, Port | Unknown], shares_port: bool = False
) -> Part:
    """A card in a group of its own, or in one with the port above it."""
    functions = [gpu(), audio()]
    if shares_port:
        functions.append(bridge(str(SWITCH)))
    (whole,) = partition.parts(functions, GPUS)
    details = {f.address: detail(f) for f in functions}
    return partition.detailed(whole, details)._replace(ports=ports)


def doubt(of: Part, here: HostFacts | None = None) -> str:
    return acs.doubt(of, here or facts()) or ""


def test_an_override_is_named_with_the_ports_that_it_overrides() -> None:
    text = doubt(part((ROOT, read(4)), (SWITCH, read(6, ALL))), OVERRIDDEN)
    assert "pcie_acs_override=downstream,multifunction" in text
    assert str(ROOT) in text and str(SWITCH) not in text
    assert "pcie_acs_override" in doubt(part(), OVERRIDDEN)


def test_a_switch_whose_acs_was_switched_off_after_the_boot() -> None:
    """setpci ECAP_ACS+6.w=0000, as guides for NCCL advise."""
    for port in (read(6, OFF), read(6)):
        assert str(SWITCH) in doubt(part((SWITCH, port)))
    # The kernel put the card into the port's own group: nothing is hidden.
    assert not doubt(part((SWITCH, read(6, OFF)), shares_port=True))


def test_no_alarm_on_a_stock_kernel() -> None:
    """Root ports may be in the kernel's table; what was not read may be on."""
    for port in (read(4), read(5), read(6, ALL), read(6, OFF, 256)):
        assert not doubt(part((SWITCH, port)))


def test_the_policy_decides() -> None:
    there = part((SWITCH, read(6, OFF)))
    warned = verdict.judge(there, facts(), GPUS)
    assert warned.verdict.is_assignable and not warned.verdict.is_isolated
    assert any(str(SWITCH) in note for note in warned.verdict.notes)
    assert trait.UNISOLATED in unit("a", warned, facts()).traits
    strict = Policy(GPUS.select, refuses_unisolated=True)
    (reason,) = verdict.judge(there, facts(), strict).verdict.reasons
    assert reason.rule == "unisolated"
    assert "pcie_acs_override=" not in reason.remedy
    good = part((SWITCH, read(6, ALL)))
    assert verdict.judge(good, facts(), strict).verdict.is_assignable
    found = unit("a", verdict.judge(good, facts(), GPUS), facts())
    assert trait.UNISOLATED not in found.traits


def test_what_was_not_read_is_refused_where_isolation_is_required() -> None:
    there = part((SWITCH, read(6, ALL, 256)))
    assert verdict.judge(there, facts(), GPUS).verdict.is_assignable
    strict = Policy(GPUS.select, refuses_unisolated=True)
    (reason,) = verdict.judge(there, facts(), strict).verdict.reasons
    assert reason.rule == "unisolated"
    assert str(SWITCH) in reason.text and "unknown" in reason.text
    (note,) = verdict.judge(there, facts(), GPUS).verdict.notes
    assert str(SWITCH) in note and "unknown" in note
    # The kernel's table of root ports counts, which is not known here.
    root = part((ROOT, read(4, ALL, 256)))
    assert verdict.judge(root, facts(), strict).verdict.is_assignable


@pytest.mark.parametrize(
    "unread",
    [
        pci_config.port(config_space.port(6, ALL, size=64)),
        Unknown(Why.UNREADABLE, "Permission denied"),
    ],
)
def test_a_bridge_of_which_not_even_the_kind_was_read(unread: Unknown) -> None:
    """Files of 64 bytes: it may be a switch's port without ACS."""
    (whole,) = partition.parts([gpu()], GPUS)
    card = whole.members[0].function
    below = detail(card, bridges=(ROOT, SWITCH))
    there = partition.detailed(whole, {card.address: below})
    strict = Policy(GPUS.select, refuses_unisolated=True)
    # Right on the root bus, it is no switch's.
    root = there._replace(ports=((ROOT, unread),))
    assert verdict.judge(root, facts(), strict).verdict.is_assignable
    switch = there._replace(ports=((ROOT, unread), (SWITCH, unread)))
    (note,) = verdict.judge(switch, facts(), GPUS).verdict.notes
    assert str(SWITCH) in note and str(ROOT) not in note
    (reason,) = verdict.judge(switch, facts(), strict).verdict.reasons
    assert reason.rule == "unisolated" and str(SWITCH) in reason.text
