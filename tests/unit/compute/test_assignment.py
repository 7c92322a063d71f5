from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.host_devices import (
    HostFunction,
    HostFunctions,
)
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord
from tests.golden import assert_golden, sections
from tests.unit.compute.build import unit

NOUVEAU = Binding("nouveau", None)
GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")
OTHER = address.parse("82:00.0")
NIC = address.parse("05:00.0")
CARD = unit("06:00.0*", "06:00.1")


def test_every_endpoint_goes_to_vfio_by_address() -> None:
    late = unit("82:00.0*")
    was = {GPU: NOUVEAU, AUDIO: Binding(None, None), OTHER: VFIO}
    assert assignment.rebinds([late, CARD], was, {OTHER: "vfio-pci"}) == (
        Rebind(GPU, NOUVEAU, VFIO),
        Rebind(AUDIO, Binding(None, None), VFIO),
        Rebind(OTHER, VFIO, VFIO),
    )


def test_a_function_stays_on_another_vfio_driver() -> None:
    """Which knows it better than vfio-pci does."""
    grace = Binding("nvgrace_gpu_vfio_pci", "nvgrace_gpu_vfio_pci")
    was = {GPU: grace, AUDIO: Binding("vfio-pci", None)}
    drivers = {GPU: "nvgrace_gpu_vfio_pci", AUDIO: "vfio-pci"}
    first, second = assignment.rebinds([CARD], was, drivers)
    assert not first.is_needed
    assert second.becomes == VFIO
    assert faults([GPU, AUDIO], was, drivers) == ()
    (fault,) = faults([GPU, AUDIO], was)
    assert fault.startswith("0000:06:00.0 is on nvgrace_gpu_vfio_pci")


@pytest.mark.parametrize(
    ("driver", "vfio_driver", "is_on_vfio"),
    [
        ("vfio-pci", "vfio-pci", True),
        # The host shows a function's driver a moment later.
        ("vfio-pci", None, True),
        ("vfio-pci", "nvidia", True),
        ("nvidia", "nvidia", True),
        ("nvidia", None, False),
        ("nvidia", "vfio-pci", False),
        (None, None, False),
        (None, "vfio-pci", False),
    ],
)
def test_which_functions_are_on_a_vfio_driver(
    driver: str | None, vfio_driver: str | None, is_on_vfio: bool
) -> None:
    """A driver must be bound: libvirt may leave a function without any."""
    binding = Binding(driver, None)
    assert assignment.is_on_vfio(binding, vfio_driver) == is_on_vfio


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


def refused(text: domain_xml.Domain, *records: UnitRecord) -> str:
    with pytest.raises(errors.Invalid) as caught:
        assignment.refuse_taken(text, records)
    return str(caught.value)


def test_a_function_of_a_unit_is_refused_with_who_has_it() -> None:
    for place, consumer, holder in (
        ("06:00.0", "5f0c", "5f0c"),
        ("06:00.1", "5f0c", "5f0c"),
        ("06:00.1", None, "the ledger"),
    ):
        records = (record(unit("82:00.0*"), None), record(CARD, consumer))
        message = refused(guest("07:00.0", place), *records)
        for datum in (f"0000:{place}", "node/0000:06:00.0", holder):
            assert datum in message


HIDDEN = (
    "<disk type='file'><backingStore type='nvme'><source type='pci'>"
    "<address bus='06'/></source></backingStore></disk></devices>",
    "</devices><q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu"
    "/1.0'><q:arg value='-device'/><q:arg value='vfio-pci,host=06:00.0'/>"
    "</q:commandline>",
)


@pytest.mark.parametrize("inside", HIDDEN)
def test_one_that_is_no_hostdev_is_refused_as_well(inside: str) -> None:
    text = f"<domain><name>a</name><devices>{inside}</domain>"
    taken = domain_xml.parse(text.encode(), "a.xml")
    assert "0000:06:00.0" in refused(taken, record(CARD, None))


def test_one_that_cannot_be_identified_is_refused() -> None:
    text = "<domain><name>a</name><devices><disk type='nvme'/></devices>"
    doubtful = domain_xml.parse(f"{text}</domain>".encode(), "a.xml")
    assert '<disk type="nvme">' in refused(doubtful)


def test_messages() -> None:
    doubtful = HostFunctions((), ("-readconfig x",))
    assert_golden(
        Path(__file__).with_name("assignment.txt"),
        sections(
            {
                "held": refused(guest("06:00.0"), record(CARD, "5f0c")),
                "free": refused(guest("06:00.0"), record(CARD, None)),
                "doubtful": refused(
                    dataclasses.replace(guest(), host_functions=doubtful)
                ),
                "differs": faults(
                    [GPU, OTHER], {GPU: NOUVEAU, AUDIO: Binding(None, None)}
                ),
                "may differ": assignment.faults([], doubtful, (), {}, {}),
            }
        ),
    )


def test_a_hostdev_of_no_unit_is_the_operators_own() -> None:
    assignment.refuse_taken(guest("07:00.0"), (record(CARD, "5f0c"),))
    assignment.refuse_taken(guest(), (record(CARD, "5f0c"),))


def faults(
    live: Iterable[Address],
    bindings: Mapping[Address, Binding],
    drivers: Mapping[Address, str] = {},
) -> tuple[str, ...]:
    """Of a guest that claimed CARD, and has a function of its own."""
    functions = tuple(HostFunction(a, False) for a in (*live, NIC))
    return assignment.faults(
        [CARD], HostFunctions(functions, ()), (NIC,), bindings, drivers
    )


def test_how_a_guest_differs_from_its_claim() -> None:
    on_vfio = {GPU: VFIO, AUDIO: Binding("vfio-pci", None)}
    assert faults([AUDIO, GPU], on_vfio) == ()
    (missing,) = faults([GPU], on_vfio)
    assert missing.startswith("0000:06:00.1 ")
    (strange,) = faults([GPU, AUDIO, OTHER], on_vfio)
    assert strange.startswith("0000:82:00.0 ")
    was = {GPU: NOUVEAU, AUDIO: Binding(None, "vfio-pci")}
    first, second = faults([GPU, AUDIO], was)
    assert first.startswith("0000:06:00.0 is on nouveau")
    assert second.startswith("0000:06:00.1 is on no driver")
    assert assignment.faults([], HostFunctions((), ()), (), {}, {}) == ()
    assert assignment.faults([], HostFunctions((), ("x",)), (), {}, {})
