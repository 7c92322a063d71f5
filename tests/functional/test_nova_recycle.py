"""Devices that Nova reserved for one use, in a real Placement.

The host is recorded; tests/functional/test_openstack.py has a real Nova.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NoReturn

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import load
from gpu_passthrough_plugin.allocation.placement import pci_providers
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.recycle import recycle
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.model.one_time_use import (
    ONE_TIME_USE,
    PciProviders,
    RecycleResult,
)
from gpu_passthrough_plugin.model.unit import State
from tests.functional.acts import Acts, Crash
from tests.functional.hooked import AUDIO, GPU, SECOND, hostdev
from tests.functional.placement.server import PlacementServer
from tests.functional.world import HOST, UUID, World, guest, place, wanted

pytest_plugins = ("tests.functional.placement.fixtures",)

ROOT = "compute1.example.org"
CLASS = "CUSTOM_PCI_10DE_1430"
DONE, LEFT = RecycleResult.DONE, RecycleResult.LEFT


class Nova:
    """What Nova wrote into Placement."""

    def __init__(self, ledger: PlacementLedger) -> None:
        self._service = ledger.service
        made = self._service.post("/resource_providers", {"name": ROOT})
        self._root = made.body["uuid"]
        self._uuids: dict[str, str] = {}

    def reports(
        self, function: str, *, reserved: int = 1, is_one_time: bool = True
    ) -> None:
        """One device of a host, in a provider of its own."""
        made = self._service.post(
            "/resource_providers",
            {
                "name": f"{ROOT}_{function.upper()}",
                "parent_provider_uuid": self._root,
            },
        ).body
        uuid = self._uuids[function] = made["uuid"]
        self._service.create_classes([CLASS])
        inventory = {"total": 1, "max_unit": 1, "reserved": reserved}
        self._service.update(
            f"/resource_providers/{uuid}/inventories",
            {
                "resource_provider_generation": made["generation"],
                "inventories": {CLASS: inventory},
            },
            "it",
        )
        if is_one_time:
            body = {
                "resource_provider_generation": made["generation"] + 1,
                "traits": [ONE_TIME_USE],
            }
            path = f"/resource_providers/{uuid}/traits"
            self._service.update(path, body, "it")

    def allocates(self, function: str) -> None:
        body = {
            "allocations": {self._uuids[function]: {"resources": {CLASS: 1}}},
            "project_id": "p",
            "user_id": "u",
            "consumer_generation": None,
            "consumer_type": "INSTANCE",
        }
        assert self._service.put(f"/allocations/{UUID}", body).status == 204

    def reserve(self, function: str) -> None:
        path = f"/resource_providers/{self._uuids[function]}/inventories"
        body = self._service.get(path)
        inventories = {
            name: {**inventory, "reserved": 1}
            for name, inventory in body["inventories"].items()
        }
        generation = body["resource_provider_generation"]
        self._service.update(
            path,
            {
                "resource_provider_generation": generation,
                "inventories": inventories,
            },
            "it",
        )

    def reserved(self) -> dict[str, int]:
        return {
            function: self._service.get(
                f"/resource_providers/{uuid}/inventories"
            )["inventories"][CLASS]["reserved"]
            for function, uuid in self._uuids.items()
        }


@pytest.fixture
def nova(placement_ledger: PlacementLedger) -> Nova:
    return Nova(placement_ledger)


@pytest.fixture
def providers(placement_server: PlacementServer) -> Iterator[PciProviders]:
    ledger = load.load("placement", placement_server.settings())
    made = ledger.pci_providers()
    yield made
    made.close()


def results(
    world: World,
    providers: PciProviders,
    acts: Acts | None = None,
    *,
    is_dry: bool = False,
) -> dict[str, RecycleResult]:
    context = world.context(acts)
    recycled = recycle(context, providers, ROOT, is_dry=is_dry)
    world.said.extend(one.detail for one in recycled)
    return {str(one.provider.address): one.result for one in recycled}


def test_what_waits_is_cleaned_and_given_back(
    world: World, nova: Nova, providers: PciProviders
) -> None:
    nova.reports(GPU)
    nova.reports(SECOND[0], reserved=0)
    before = world.snapshot()
    acts = Acts()
    assert results(world, providers, acts, is_dry=True) == {
        GPU: RecycleResult.PLANNED
    }
    assert acts.done == [] and nova.reserved()[GPU] == 1
    assert results(world, providers, acts) == {GPU: DONE}
    assert acts.done.count("reset") == 1
    assert world.kernel.reset_groups == [18]
    assert nova.reserved() == {GPU: 0, SECOND[0]: 0}
    assert world.snapshot() == before
    assert results(world, providers) == {}


def test_a_group_is_given_back_as_a_whole(
    world: World, nova: Nova, providers: PciProviders
) -> None:
    nova.reports(GPU)
    nova.reports(AUDIO)
    acts = Acts()
    assert results(world, providers, acts) == {GPU: DONE, AUDIO: DONE}
    assert acts.done.count("reset") == 1
    assert nova.reserved() == {GPU: 0, AUDIO: 0}


@pytest.mark.parametrize("is_one_time", [False, True])
def test_a_group_that_somebody_may_get_stays_reserved(
    world: World, nova: Nova, providers: PciProviders, is_one_time: bool
) -> None:
    nova.reports(GPU)
    nova.reports(AUDIO, reserved=0, is_one_time=is_one_time)
    acts = Acts()
    assert results(world, providers, acts) == {GPU: LEFT}
    assert "is offered by Placement" in world.said[-1]
    nova.allocates(AUDIO)
    assert results(world, providers, acts) == {GPU: LEFT}
    assert f"{AUDIO} of IOMMU group 18 is allocated to" in world.said[-1]
    assert acts.done == [] and nova.reserved()[GPU] == 1


def test_what_a_guest_uses_stays_reserved(
    world: World, nova: Nova, providers: PciProviders
) -> None:
    nova.reports(GPU)
    devices = "".join(map(hostdev, (GPU, AUDIO)))
    world.hypervisor.start(guest(devices=devices).text.decode())
    assert results(world, providers) == {GPU: LEFT}
    assert f"guest {UUID} runs with {GPU}" in world.said[-1]
    world.hypervisor.destroy(UUID)
    world.kernel.held.add(place(AUDIO))
    assert results(world, providers) == {GPU: LEFT}
    world.kernel.held.clear()
    boot(world.context(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    assert results(world, providers) == {GPU: LEFT}
    assert f"the ledger has it active ({UUID})" in world.said[-1]
    (record,) = world.ledger.allocation(UUID).units
    for state in (State.RELEASING, State.SANITISING, State.FREE):
        record = world.ledger.move(record, state)
    assert results(world, providers) == {GPU: LEFT}
    assert f"journal has it for instance {UUID}" in world.said[-1]
    world.journal.remove(UUID)
    world.ledger.move(record, State.QUARANTINED, reason="it hums")
    assert results(world, providers) == {GPU: LEFT}
    assert "the ledger has it quarantined (it hums)" in world.said[-1]
    assert nova.reserved() == {GPU: 1}


def test_a_device_that_is_not_clean_stays_reserved(
    world: World, nova: Nova, providers: PciProviders
) -> None:
    nova.reports(GPU)
    good = world.kernel.silence(place(GPU))
    assert results(world, providers) == {GPU: LEFT}
    assert "does not respond" in world.said[-1]
    assert nova.reserved() == {GPU: 1}
    world.kernel.identities[place(GPU)] = good
    assert results(world, providers) == {GPU: DONE}
    assert world.kernel.binding(place(GPU)) == world.bindings[place(GPU)]


def test_who_is_killed_anywhere_leaves_it_reserved_or_done(
    world: World, nova: Nova, providers: PciProviders
) -> None:
    nova.reports(GPU)
    before = world.snapshot()
    for crash_at in range(1, 99):
        try:
            results(world, providers, Acts(crash_at=crash_at, does_it=True))
        except Crash:
            continue
        break
    assert crash_at > 5
    assert nova.reserved() == {GPU: 0}
    assert world.snapshot() == before


def test_a_device_that_this_host_does_not_have(
    world: World, nova: Nova, providers: PciProviders
) -> None:
    nova.reports("0000:99:00.0")
    assert results(world, providers) == {"0000:99:00.0": LEFT}
    assert "no assignable IOMMU group" in world.said[-1]
    with pytest.raises(errors.Refused) as caught:
        recycle(world.context(), providers, HOST, is_dry=True)
    assert f"no provider named '{HOST}'" in str(caught.value)


def test_a_placement_that_does_not_know_of_one_use(
    nova: Nova, providers: PciProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    nova.reports(GPU)
    monkeypatch.setattr(pci_providers, "ONE_TIME_USE", "HW_PCI_UNHEARD_OF")
    assert providers.read(ROOT) == ()


def test_a_libvirt_that_is_silent(
    world: World, nova: Nova, providers: PciProviders
) -> None:
    nova.reports(GPU)
    context = dataclasses.replace(world.context(), connect=_silent)
    (left,) = recycle(context, providers, ROOT, is_dry=False)
    assert left.detail == "libvirt does not answer; it stays reserved"


def test_a_guest_that_cannot_be_read_may_have_it(
    world: World,
    nova: Nova,
    providers: PciProviders,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nova.reports(GPU)
    world.hypervisor.start(guest().text.decode())
    for xml in ("<domain", "<domain><devices><hostdev type='pci'/>"):
        monkeypatch.setattr(Hypervisor, "live_xml", lambda *_, x=xml: x)
        assert results(world, providers) == {GPU: LEFT}
    monkeypatch.undo()
    assert results(world, providers) == {GPU: DONE}


def _silent() -> NoReturn:
    raise errors.Unavailable("libvirt does not answer")


def test_only_placement_has_them(world: World) -> None:
    with pytest.raises(errors.Refused) as caught:
        world.ledger.pci_providers()
    assert str(caught.value).endswith("is not Placement")


def test_what_changed_meanwhile_stays_reserved(
    world: World, nova: Nova, providers: PciProviders
) -> None:
    nova.reports(GPU)
    (provider,) = providers.read(ROOT)
    providers.unreserve(provider)
    with pytest.raises(errors.Conflict):
        providers.unreserve(provider)
