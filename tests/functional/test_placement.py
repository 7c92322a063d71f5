"""The ledger in a real Placement: the suite of every ledger, and its own."""

from __future__ import annotations

import re

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    names,
    providers,
    reading,
)
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.model.allocation import Weight
from gpu_passthrough_plugin.model.unit import State, UnitRecord
from tests.functional import test_ledger as suite
from tests.functional.placement.server import PlacementServer
from tests.unit.allocation.build import GPU, NIC, request, unit

pytest_plugins = ("tests.functional.placement.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"

# What holds of every ledger: pytest takes the ``ledger`` of this module.
globals().update(
    {name: of for name, of in vars(suite).items() if name.startswith("test_")}
)


@pytest.fixture
def ledger(placement_ledger: PlacementLedger) -> PlacementLedger:
    return placement_ledger


def listed(ledger: PlacementLedger, *, of: str = "") -> dict[str, str]:
    """UUIDs of providers by their names."""
    asked = (("in_tree", of),) if of else ()
    found = ledger.service.get("/resource_providers", *asked)
    return {e["name"]: e["uuid"] for e in found["resource_providers"]}


def traits(ledger: PlacementLedger, uuid: str) -> set[str]:
    found = ledger.service.get(f"/resource_providers/{uuid}/traits")
    return set(found["traits"])


def made_traits(ledger: PlacementLedger) -> set[str]:
    found = ledger.service.get("/traits", ("name", "startswith:CUSTOM_GPUPT_"))
    return set(found["traits"])


def test_units_are_named_as_nova_names_them(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(0xA, GPU, NIC, node=1, socket=0, switch=4)])
    found = listed(ledger)
    assert set(found) == {"h", "h_gpu-passthrough", "h_0000:0A:00.0"}
    uuid = found["h_0000:0A:00.0"]
    path = f"/resource_providers/{uuid}"
    entry = ledger.service.get(path)
    assert entry["parent_provider_uuid"] == found["h"]
    inventories = ledger.service.get(f"{path}/inventories")["inventories"]
    assert inventories["CUSTOM_PCI_10DE_1430"]["total"] == 1
    assert traits(ledger, uuid) == {
        "CUSTOM_GPU_PASSTHROUGH_UNIT",
        "CUSTOM_GPUPT_GROUP_10",
        "CUSTOM_GPUPT_NODE_1",
        "CUSTOM_GPUPT_SOCKET_0",
        "CUSTOM_GPUPT_SWITCH_0000_00_04_0",
        "CUSTOM_GPUPT_F_0000_0A_00_0_10DE_1430_030000_PCI_P",
        "CUSTOM_GPUPT_F_0000_0A_00_1_10DE_0FBA_040300_PCI_C",
        "CUSTOM_GPUPT_F_0000_0A_01_0_10DE_1017_030000_PCI_P",
        "CUSTOM_GPUPT_F_0000_0A_01_1_10DE_0FBA_040300_PCI_C",
    }


def test_novas_compute_node_stays_as_it_is(ledger: PlacementLedger) -> None:
    service = ledger.service
    uuid, generation = providers.ensure_provider(service, "h", None)
    vcpu = {"VCPU": {"total": 8}}
    providers.put_inventory(service, uuid, generation, vcpu)
    before = service.get(f"/resource_providers/{uuid}")
    ledger.publish("h", [unit(1)])
    ledger.claim(request("gpu:1"), A)
    assert service.get(f"/resource_providers/{uuid}") == before
    assert listed(ledger)["h"] == uuid


@pytest.mark.parametrize(
    ("address", "marks"),
    [
        ("0000:01:00.0", {"COMPUTE_MANAGED_PCI_DEVICE"}),
        ("0000:01:00.1", {"COMPUTE_MANAGED_PCI_DEVICE", "OWNER_NOVA"}),
        ("0000:01:00.0", set[str]()),
    ],
)
def test_two_ledgers_for_one_device_are_refused(
    ledger: PlacementLedger, address: str, marks: set[str]
) -> None:
    service = ledger.service
    root, _ = providers.ensure_provider(service, "h", None)
    uuid, generation = providers.ensure_provider(service, f"h_{address}", root)
    inventory = {"VGPU": {"total": 1}}
    generation = providers.put_inventory(service, uuid, generation, inventory)
    providers.put_traits(service, uuid, generation, frozenset(marks))
    with pytest.raises(errors.Refused, match="Nova reports that device"):
        ledger.publish("h", [unit(1)])
    assert ledger.records() == ()
    # Nova's other devices are none of ours to mind.
    assert ledger.publish("h", [unit(2)]).added == (unit(2),)


def test_what_nova_allocates_is_not_ours_to_free(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    uuid = listed(ledger)["h_0000:01:00.0"]
    body = {
        "allocations": {uuid: {"resources": {"CUSTOM_PCI_10DE_1430": 1}}},
        "project_id": "p",
        "user_id": "u",
        "consumer_generation": None,
        "consumer_type": "INSTANCE",
    }
    assert ledger.service.put(f"/allocations/{B}", body).status == 204
    (record,) = ledger.records()
    assert (record.state, record.consumer) == (State.CLAIMED, B)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), A)
    with pytest.raises(errors.Refused, match="not this ledger's"):
        ledger.claim(request("gpu:1"), B)
    with pytest.raises(errors.Refused, match="by somebody else"):
        ledger.move(record, State.FREE)
    with pytest.raises(errors.Refused, match="holds nothing"):
        ledger.allocation(B)


def test_a_claim_decided_on_what_changed_is_refused(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1, node=0)])
    (before,) = reading.read_fleet(ledger.service).units
    ledger.publish("h", [unit(1, node=1)])
    resources = {
        "CUSTOM_PCI_10DE_1430": 1,
        names.STATE_COUNTER: before.counter.count,
    }
    reply = ledger.service.put(
        f"/allocations/{A}",
        {
            "allocations": {before.uuid: {"resources": resources}},
            "project_id": names.PROJECT,
            "user_id": "gpu:1",
            "consumer_generation": None,
            "consumer_type": names.CONSUMER_TYPE,
        },
    )
    assert reply.status == 409
    assert ledger.claim(request("gpu:1"), A).units[0].unit.numa_node == 1


def ended(ledger: PlacementLedger, record: UnitRecord) -> None:
    """Free a unit as one would who dies before its allocation is gone."""
    (stored,) = (
        s
        for s in reading.read_fleet(ledger.service).units
        if s.record.unit.key == record.unit.key
    )
    path = f"/resource_providers/{stored.uuid}/inventories"
    found = ledger.service.get(path)
    after = stored.counter.moved(stored.usage, State.FREE)
    providers.put_inventory(
        ledger.service,
        stored.uuid,
        found["resource_provider_generation"],
        after.inventory(record.unit.resource_class),
    )


def test_a_hold_ends_before_its_allocation_does(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    first, second = ledger.claim(request("gpu:2"), A).units
    ended(ledger, first)
    assert [r.state for r in ledger.records()] == [
        State.FREE,
        State.CLAIMED,
    ]
    assert ledger.allocation(A).units == (second,)
    ended(ledger, second)
    assert ledger.allocations() == ()
    with pytest.raises(errors.Refused, match="holds nothing"):
        ledger.allocation(A)
    # Whoever comes next finishes it, and so does the same consumer.
    assert ledger.claim(request("gpu:1"), B).units[0].unit == unit(1)
    assert ledger.claim(request("gpu:1"), A).units[0].unit == unit(2)


def test_freeing_one_unit_finishes_another(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1), unit(2), unit(3)])
    first, second, third = ledger.claim(request("gpu:3"), A).units
    ended(ledger, first)
    ledger.move(second, State.FREE)
    assert ledger.allocation(A).units == (third,)
    found = ledger.service.get(f"/allocations/{A}")["allocations"]
    assert list(found) == [listed(ledger)["h_0000:03:00.0"]]


def test_publishing_finishes_what_ended(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    ended(ledger, record)
    assert ledger.publish("h", []).removed == (unit(1),)
    assert ledger.service.get(f"/allocations/{A}")["allocations"] == {}


def test_one_who_died_while_adding_is_no_hindrance(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    root = listed(ledger)["h"]
    for bus in ("02", "03", "04"):
        name = f"h_0000:{bus}:00.0"
        uuid, generation = providers.ensure_provider(
            ledger.service, name, root
        )
        if bus != "04":
            mark = frozenset({names.UNIT_TRAIT})
            providers.put_traits(ledger.service, uuid, generation, mark)
    assert [r.unit for r in ledger.records()] == [unit(1)]
    report = ledger.publish("h", [unit(1), unit(2), unit(4)])
    assert report.added == (unit(2), unit(4))
    assert "h_0000:03:00.0" not in listed(ledger)


def test_a_reason_of_any_length_and_script_is_kept(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    before = made_traits(ledger)
    reason = "läuft heiß — " * 60
    (record,) = ledger.records()
    locked = ledger.move(record, State.QUARANTINED, reason=reason)
    assert ledger.records() == (locked,)
    assert locked.reason == reason
    ledger.move(locked, State.FREE)
    assert made_traits(ledger) == before


def test_a_request_that_is_too_long_is_told(ledger: PlacementLedger) -> None:
    long = request("gpu:1", *range(200))
    with pytest.raises(errors.Invalid, match="Placement keeps 255"):
        ledger.claim(long, A)


def test_novas_disabled_hosts_are_not_offered(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    root = listed(ledger)["h"]
    has = ledger.service.get(f"/resource_providers/{root}")["generation"]
    disabled = frozenset({names.NOVA_DISABLED_TRAIT})
    providers.put_traits(ledger.service, root, has, disabled)
    (host,) = ledger.hosts()
    assert host.is_disabled
    assert "compute service" in host.reason
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), A)
    with pytest.raises(errors.Refused, match="stays disabled"):
        ledger.enable("h")


def test_aggregates_of_nova_are_kept(ledger: PlacementLedger) -> None:
    novas = "11111111-2222-4333-8444-555555555555"
    ledger.publish("h", [unit(1)], aggregates=frozenset({"rack"}))
    root = listed(ledger)["h"]
    path = f"/resource_providers/{root}/aggregates"
    found = ledger.service.get(path)
    body = {
        "aggregates": [*found["aggregates"], novas],
        "resource_provider_generation": found["resource_provider_generation"],
    }
    assert ledger.service.put(path, body).status == 200
    ledger.publish("h", [unit(1)], aggregates=frozenset({"blue"}))
    assert set(ledger.service.get(path)["aggregates"]) == {
        novas,
        names.aggregate("blue"),
    }
    assert ledger.hosts()[0].aggregates == {"blue"}


def test_the_schema_is_classes_and_traits(
    placement_server: PlacementServer, ledger: PlacementLedger
) -> None:
    assert re.fullmatch(r"1\.\d+", ledger.version())
    newer = f"{names.LAYOUT_PREFIX}{names.LAYOUT + 1}"
    ledger.service.create_traits({newer})
    try:
        other = PlacementLedger(placement_server.settings(Weight.PACK))
        with pytest.raises(errors.Unavailable, match="newer than"):
            other.records()
        with pytest.raises(errors.Unavailable, match="newer than"):
            other.sync()
        other.close()
    finally:
        ledger.service.delete(f"/traits/{newer}")


def test_a_placement_that_knows_no_types_of_consumers(
    ledger: PlacementLedger,
) -> None:
    ledger.close()
    ledger.service.__dict__["microversion"] = "1.36"
    ledger.publish("h", [unit(1), unit(2)])
    held = ledger.claim(request("gpu:2"), A)
    assert ledger.allocations() == (held,)
    for record in held.units:
        ledger.move(record, State.FREE)
    assert ledger.allocations() == ()
