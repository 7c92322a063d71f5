"""What two hosts have to share to be searched once."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin.allocation.affinity import NumaLocation
from gpu_passthrough_plugin.allocation.host_signature import (
    HostSignature,
    Matcher,
    UnitSignature,
    signature,
)
from gpu_passthrough_plugin.model.unit import Unit
from tests.unit.allocation.build import GPU, NIC, request, unit


def of_host(
    free: Iterable[Unit],
    taken: Iterable[Unit] = (),
    text: str = "gpu:1,any:1",
    without: str = "",
) -> HostSignature:
    return signature(free, taken, Matcher(request(text, without=without)))


def test_a_unit_is_what_its_primaries_match() -> None:
    host = of_host([unit(1, GPU, NIC, node=1, socket=0, switch=3)])
    assert host.units == (
        UnitSignature(
            matches=(frozenset({0, 1}), frozenset({1})),
            primaries=2,
            location=NumaLocation(1, 0),
            switch=0,
        ),
    )
    assert host.sockets == ((1, 0),)


def test_a_primary_without_match_counts_as_primary() -> None:
    (only,) = of_host([unit(1, GPU, NIC)], text="gpu:1").units
    assert (len(only.matches), only.primaries) == (1, 2)


def test_a_forbidden_trait_matches_nothing() -> None:
    (only,) = of_host([unit(1, traits="LOUD")], without="LOUD").units
    assert only.matches == ()


def test_addresses_and_numbers_of_switches_do_not_matter() -> None:
    first = of_host([unit(1, switch=1), unit(2, switch=2)])
    second = of_host([unit(5, switch=7), unit(6, switch=9)])
    assert first == second
    assert first != of_host([unit(1, switch=1), unit(2, switch=1)])


def test_taken_units_break_nodes_and_the_switches_of_free_ones() -> None:
    host = of_host(
        [unit(1, node=0, switch=1)],
        [unit(2, node=0, switch=1), unit(3, node=1, socket=1, switch=2)],
    )
    assert host.broken_nodes == {0, 1}
    assert host.broken_switches == {0}
    assert host.sockets == ((1, 1),)
