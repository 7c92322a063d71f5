"""The ledger in a real Placement: every driver's tests, and its own."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

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
from tests.functional.placement.server import PlacementServer
from tests.functional.test_ledger_refusals import error_of
from tests.golden import assert_golden, sections
from tests.unit.allocation.build import GPU, NIC, request, unit

pytest_plugins = ("tests.functional.placement.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"


@pytest.fixture
def ledger(placement_ledger: PlacementLedger) -> PlacementLedger:
    return placement_ledger


def uuids(ledger: PlacementLedger) -> dict[str, str]:
    """Return the UUIDs of providers by their names."""
    body = ledger.service.get("/resource_providers")
    return {e["name"]: e["uuid"] for e in body["resource_providers"]}


def traits(ledger: PlacementLedger, uuid: str) -> set[str]:
    body = ledger.service.get(f"/resource_providers/{uuid}/traits")
    return set(body["traits"])


def existing_traits(ledger: PlacementLedger) -> set[str]:
    body = ledger.service.get("/traits", ("name", "startswith:CUSTOM_GPUPT_"))
    return set(body["traits"])


def test_units_are_named_as_nova_names_them(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(0xA, GPU, NIC, node=1, socket=0, switch=4)])
    of_name = uuids(ledger)
    assert set(of_name) == {"h", "h_gpu-passthrough", "h_0000:0A:00.0"}
    uuid = of_name["h_0000:0A:00.0"]
    path = f"/resource_providers/{uuid}"
    entry = ledger.service.get(path)
    assert entry["parent_provider_uuid"] == of_name["h"]
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
    assert uuids(ledger)["h"] == uuid


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
    with pytest.raises(errors.Refused, match=address):
        ledger.publish("h", [unit(1)])
    assert ledger.records() == ()
    # Other devices of Nova do not matter.
    assert ledger.publish("h", [unit(2)]).added == (unit(2),)


def allocate_as_nova(ledger: PlacementLedger, consumer: str) -> None:
    uuid = uuids(ledger)["h_0000:01:00.0"]
    body = {
        "allocations": {uuid: {"resources": {"CUSTOM_PCI_10DE_1430": 1}}},
        "project_id": "p",
        "user_id": "u",
        "consumer_generation": None,
        "consumer_type": "INSTANCE",
    }
    reply = ledger.service.put(f"/allocations/{consumer}", body)
    assert reply.status == 204


def test_a_unit_that_nova_allocated(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1)])
    allocate_as_nova(ledger, B)
    (record,) = ledger.records()
    assert (record.state, record.consumer) == (State.CLAIMED, B)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), A)
    with pytest.raises(errors.Refused, match=B):
        ledger.claim(request("gpu:1"), B)
    with pytest.raises(errors.Refused, match=r"01:00\.0 .* Nova"):
        ledger.move(record, State.FREE)
    with pytest.raises(errors.Refused, match="holds nothing"):
        ledger.allocation(B)


def test_placement_refuses_a_claim_of_an_outdated_count(
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


def free_and_die(ledger: PlacementLedger, record: UnitRecord) -> None:
    """Free a unit as a client does that dies before it removes the hold."""
    (stored,) = (
        s
        for s in reading.read_fleet(ledger.service).units
        if s.record.unit.key == record.unit.key
    )
    path = f"/resource_providers/{stored.uuid}/inventories"
    body = ledger.service.get(path)
    after = stored.counter.moved(stored.usage, State.FREE)
    providers.put_inventory(
        ledger.service,
        stored.uuid,
        body["resource_provider_generation"],
        after.inventory(record.unit.resource_class),
    )


def test_a_hold_ends_before_its_allocation_does(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    first, second = ledger.claim(request("gpu:2"), A).units
    free_and_die(ledger, first)
    assert [r.state for r in ledger.records()] == [
        State.FREE,
        State.CLAIMED,
    ]
    assert ledger.allocation(A).units == (second,)
    free_and_die(ledger, second)
    assert ledger.allocations() == ()
    with pytest.raises(errors.Refused, match="holds nothing"):
        ledger.allocation(A)
    # The next claim removes what is left; so does the same consumer's.
    assert ledger.claim(request("gpu:1"), B).units[0].unit == unit(1)
    assert ledger.claim(request("gpu:1"), A).units[0].unit == unit(2)


def test_freeing_a_unit_removes_what_is_left_of_another(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2), unit(3)])
    first, second, third = ledger.claim(request("gpu:3"), A).units
    free_and_die(ledger, first)
    ledger.move(second, State.FREE)
    assert ledger.allocation(A).units == (third,)
    left = ledger.service.get(f"/allocations/{A}")["allocations"]
    assert list(left) == [uuids(ledger)["h_0000:03:00.0"]]


def test_publishing_removes_what_is_left_of_holds(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    free_and_die(ledger, record)
    assert ledger.publish("h", []).removed == (unit(1),)
    assert ledger.service.get(f"/allocations/{A}")["allocations"] == {}


def test_units_that_a_dead_publisher_half_created(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    root = uuids(ledger)["h"]
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
    assert "h_0000:03:00.0" not in uuids(ledger)


def test_a_quarantine_reason_of_any_length_and_script(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    before = existing_traits(ledger)
    reason = "läuft heiß — " * 60
    (record,) = ledger.records()
    locked = ledger.move(record, State.QUARANTINED, reason=reason)
    assert ledger.records() == (locked,)
    assert locked.reason == reason
    locked = ledger.move(locked, State.QUARANTINED, reason="smells")
    assert ledger.records()[0].reason == "smells"
    ledger.move(locked, State.FREE)
    assert existing_traits(ledger) == before


def test_a_request_that_is_too_long(ledger: PlacementLedger) -> None:
    long = request("gpu:1", *range(200))
    with pytest.raises(errors.Invalid, match="255"):
        ledger.claim(long, A)


def test_hosts_that_nova_disabled_are_not_offered(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    root = uuids(ledger)["h"]
    has = ledger.service.get(f"/resource_providers/{root}")["generation"]
    disabled = frozenset({names.NOVA_DISABLED_TRAIT})
    providers.put_traits(ledger.service, root, has, disabled)
    (host,) = ledger.hosts()
    assert host.is_cordoned
    assert "compute service" in host.reason
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), A)
    with pytest.raises(errors.Refused, match="host h "):
        ledger.uncordon("h")


def test_aggregates_of_nova_stay(ledger: PlacementLedger) -> None:
    of_nova = "11111111-2222-4333-8444-555555555555"
    ledger.publish("h", [unit(1)], aggregates=frozenset({"rack"}))
    root = uuids(ledger)["h"]
    path = f"/resource_providers/{root}/aggregates"
    has = ledger.service.get(path)
    body = {
        "aggregates": [*has["aggregates"], of_nova],
        "resource_provider_generation": has["resource_provider_generation"],
    }
    assert ledger.service.put(path, body).status == 200
    ledger.publish("h", [unit(1)], aggregates=frozenset({"blue"}))
    assert set(ledger.service.get(path)["aggregates"]) == {
        of_nova,
        names.aggregate("blue"),
    }
    assert ledger.hosts()[0].aggregates == {"blue"}
    # A request may name an aggregate of Nova by its UUID.
    within = dataclasses.replace(request("gpu:1"), aggregate=of_nova)
    assert ledger.claim(within, A).host == "h"
    with pytest.raises(
        errors.NoValidHost, match=f"in aggregate {of_nova}: 1 cl"
    ):
        ledger.claim(within, B)


def test_a_newer_layout_is_refused(
    placement_server: PlacementServer, ledger: PlacementLedger
) -> None:
    assert re.fullmatch(r"1\.\d+", ledger.version())
    newer = f"{names.LAYOUT_PREFIX}{names.LAYOUT + 1}"
    ledger.service.create_traits({newer})
    try:
        other = PlacementLedger(placement_server.settings(Weight.PACK))
        with pytest.raises(errors.Unavailable, match="layout 3"):
            other.records()
        with pytest.raises(errors.Unavailable, match="layout 3"):
            other.sync()
        other.close()
    finally:
        ledger.service.delete(f"/traits/{newer}")


def test_without_consumer_types(
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


def test_golden_messages(ledger: PlacementLedger) -> None:
    """What this driver refuses besides the refusals of every driver."""
    ledger.publish("h", [unit(1), unit(2)])
    held = ledger.claim_units([unit(2).key], A, "hook").units[0]
    ledger.service.delete(f"/allocations/{A}")
    ledger.claim_units([unit(2).key], "c" + A[1:], "hook")
    allocate_as_nova(ledger, B)
    nova_held = ledger.unit(unit(1).key)
    root = uuids(ledger)["h"]
    generation = ledger.service.get(f"/resource_providers/{root}")
    disabled = frozenset({names.NOVA_DISABLED_TRAIT})
    providers.put_traits(
        ledger.service, root, generation["generation"], disabled
    )
    providers.ensure_provider(ledger.service, "g_0000:01:00.0", None)
    root_of_g, _ = providers.ensure_provider(ledger.service, "g", None)
    uuid, provider_generation = providers.ensure_provider(
        ledger.service, "g_0000:02:00.0", root_of_g
    )
    providers.put_inventory(
        ledger.service, uuid, provider_generation, {"VGPU": {"total": 1}}
    )
    messages = {
        "claim, consumer of Nova": error_of(
            lambda: ledger.claim(request("gpu:1"), B)
        ),
        "move, held by Nova": error_of(
            lambda: ledger.move(nova_held, State.FREE)
        ),
        "move, held by another consumer": error_of(
            lambda: ledger.move(held, State.PREPARING)
        ),
        "uncordon, disabled in Nova": error_of(lambda: ledger.uncordon("h")),
        "publish, reported by Nova": error_of(
            lambda: ledger.publish("g", [unit(2, host="g")])
        ),
        "publish, trait": error_of(
            lambda: ledger.publish("g", [unit(1, host="g", traits="lower")])
        ),
    }
    texts = {
        name: re.sub("[0-9a-f-]{36}", "UUID", text)
        for name, text in messages.items()
    }
    path = Path(__file__).with_name("placement_refusals.txt")
    assert_golden(path, sections(texts))


def test_a_host_name_that_is_too_long(ledger: PlacementLedger) -> None:
    with pytest.raises(errors.Unavailable, match=r"200 .* \[DEFAULT\] host"):
        ledger.publish("g" * 201, [])
