from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.effect import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord
from tests.unit.compute.build import unit

NOUVEAU = Binding("nouveau", None)
GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")
OTHER = address.parse("82:00.0")
CARD = unit("06:00.0*", "06:00.1")


def test_every_endpoint_goes_to_vfio_by_address() -> None:
    late = unit("82:00.0*")
    was = {GPU: NOUVEAU, AUDIO: Binding(None, None), OTHER: VFIO}
    assert assignment.rebinds([late, CARD], was) == (
        Rebind(GPU, NOUVEAU, VFIO),
        Rebind(AUDIO, Binding(None, None), VFIO),
        Rebind(OTHER, VFIO, VFIO),
    )


def test_undoing_a_rebind() -> None:
    there = Rebind(GPU, NOUVEAU, VFIO)
    assert there.is_needed
    assert there.undo() == Rebind(GPU, VFIO, NOUVEAU)
    assert there.undo().undo() == there
    assert not Rebind(GPU, VFIO, VFIO).is_needed
    # On vfio-pci by its ids: the override has to go again.
    assert Rebind(GPU, Binding("vfio-pci", None), VFIO).is_needed


def record(of: Unit, consumer: str | None) -> UnitRecord:
    state = State.ACTIVE if consumer else State.FREE
    return UnitRecord(of, state, consumer, 1, False, "")


def guest(*hostdevs: str) -> domain_xml.Domain:
    inside = "".join(
        "<hostdev type='pci'><source>"
        f"<address bus='0x{place[:2]}' slot='0x00' function='0x{place[-1]}'/>"
        "</source></hostdev>"
        for place in hostdevs
    )
    text = f"<domain><name>a</name><devices>{inside}</devices></domain>"
    return domain_xml.parse(text.encode(), "a.xml")


def test_a_hostdev_of_a_unit_is_refused_with_who_has_it() -> None:
    for place, consumer, who in (
        ("06:00.0", "5f0c", "instance 5f0c holds"),
        ("06:00.1", "5f0c", "instance 5f0c holds"),
        ("06:00.1", None, "the ledger hands out"),
    ):
        records = (record(unit("82:00.0*"), None), record(CARD, consumer))
        with pytest.raises(errors.Invalid) as caught:
            assignment.refuse_taken(guest("07:00.0", place), records)
        assert str(caught.value) == (
            f"domain 'a' already has a <hostdev> for 0000:{place}, of unit"
            f" node/0000:06:00.0, which {who}; take it out and ask with"
            " --request"
        )


def test_a_hostdev_of_no_unit_is_the_operators_own() -> None:
    assignment.refuse_taken(guest("07:00.0"), (record(CARD, "5f0c"),))
    assignment.refuse_taken(guest(), (record(CARD, "5f0c"),))


def test_how_a_guest_differs_from_its_claim() -> None:
    on_vfio = {GPU: VFIO, AUDIO: Binding("vfio-pci", None)}
    assert assignment.faults([CARD], [AUDIO, GPU], on_vfio) == ()
    assert assignment.faults([CARD], [GPU], on_vfio) == (
        "0000:06:00.1 was claimed and is not in the running guest",
    )
    assert assignment.faults([CARD], [GPU, AUDIO, OTHER], on_vfio) == (
        "0000:82:00.0 is in the running guest and was not claimed",
    )
    was = {GPU: NOUVEAU, AUDIO: Binding(None, "vfio-pci")}
    assert assignment.faults([CARD], [GPU, AUDIO], was) == (
        "0000:06:00.0 is on nouveau, not on vfio-pci",
        "0000:06:00.1 is on no driver, not on vfio-pci",
    )
    assert assignment.faults([], [], {}) == ()
    assert assignment.faults([], [GPU], {}) == (
        "0000:06:00.0 is in the running guest and was not claimed",
    )
