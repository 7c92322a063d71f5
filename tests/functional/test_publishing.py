"""What a host says of itself when it publishes."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import inventory
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.trait import ConfiguredTraits
from tests.functional.world import HOST, POLICY, World, wanted
from tests.trees.seed import seed


def machine(world: World, machine_id: str) -> HostContext:
    """The world's host, with another id or with none."""
    host = seed()
    if machine_id:
        host.file("etc/machine-id", f"{machine_id}\n")
    return dataclasses.replace(world.context(), tree=host.tree())


def test_aggregates_are_published_and_withdrawn(world: World) -> None:
    for text in ("rack-1 blue", "blue", ""):
        names = frozenset(text.split())
        inventory.publish(
            dataclasses.replace(world.context(), aggregates=names)
        )
        (host,) = world.ledger.hosts()
        assert (host.name, host.aggregates) == (HOST, names)


def test_traits_are_published_with_the_units(world: World) -> None:
    given = (
        ConfiguredTraits(
            selector.parse("0000:06:00.1"), frozenset({"CUSTOM_SOUND"})
        ),
    )
    policy = Policy(POLICY.select, traits=given)
    before = world.ledger.records()
    assert [r.unit.traits for r in before] == [frozenset()] * 3
    report = inventory.publish(
        dataclasses.replace(world.context(), policy=policy)
    )
    assert [str(u.key.address) for u in report.changed] == ["0000:06:00.0"]
    assert [r.unit.traits for r in world.ledger.records()] == [
        frozenset({"CUSTOM_SOUND"}),
        frozenset(),
        frozenset(),
    ]


def test_another_machine_of_the_same_name_is_refused(world: World) -> None:
    first, second = machine(world, "1" * 32), machine(world, "2" * 32)
    inventory.publish(first)
    with pytest.raises(errors.Refused, match="--replace"):
        inventory.publish(second)
    inventory.publish(first)
    inventory.publish(second, replaces=True)
    inventory.publish(second)
    with pytest.raises(errors.Refused, match="--replace"):
        inventory.publish(first)


def test_a_machine_without_an_id_is_not_refused(world: World) -> None:
    inventory.publish(machine(world, "1" * 32))
    inventory.publish(machine(world, ""))


def test_a_disabled_host_stays_disabled(world: World) -> None:
    world.ledger.cordon(HOST, "new roof")
    inventory.publish(
        dataclasses.replace(world.context(), aggregates=frozenset("a"))
    )
    (host,) = world.ledger.hosts()
    assert (host.is_cordoned, host.reason) == (True, "new roof")
    assert world.ledger.candidates(wanted()) == ()
