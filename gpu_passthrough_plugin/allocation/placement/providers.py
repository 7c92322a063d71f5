"""Requests that change one provider, each guarded by its generation."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import names
from gpu_passthrough_plugin.allocation.placement.failure import (
    Again,
    Clash,
    Reply,
    clash,
    detail,
)
from gpu_passthrough_plugin.allocation.placement.lease import Inventory
from gpu_passthrough_plugin.allocation.placement.service import Service


def made(service: Service, name: str, parent: str | None) -> tuple[str, int]:
    """The UUID and generation of a provider, made if there is none.

    :raises Again: when its name is taken, and nobody has it.
    """
    listed = service.get("/resource_providers", ("name", name))
    for entry in listed["resource_providers"]:
        return entry["uuid"], entry["generation"]
    body = {"name": name}
    if parent is not None:
        body["parent_provider_uuid"] = parent
    reply = service.post("/resource_providers", body)
    if reply.status == 200:
        return reply.body["uuid"], reply.body["generation"]
    if clash(reply) in (Clash.DUPLICATE, Clash.CONCURRENT):
        raise changed(f"provider {name}", detail(reply))
    raise errors.Unavailable(
        f"Placement {service.name} does not take a provider {name}"
        f" ({detail(reply)}); its name has at most {names.MAX_NAME}"
        " characters: check [DEFAULT] host"
    )


def put_inventory(
    service: Service, uuid: str, generation: int, inventory: Inventory
) -> int:
    """Make that the inventory of a provider; its generation then.

    :raises Again: when its generation is another, or it is gone.
    """
    service.make_classes(inventory)
    reply = service.put(
        f"/resource_providers/{uuid}/inventories",
        {
            "resource_provider_generation": generation,
            "inventories": inventory,
        },
    )
    if reply.status != 200:
        raise _refused(service, f"the inventory of provider {uuid}", reply)
    return int(reply.body["resource_provider_generation"])


def put_traits(
    service: Service, uuid: str, generation: int, traits: frozenset[str]
) -> int:
    """Make these the traits of a provider; its generation then.

    :raises Again: when its generation is another, or it is gone.
    """
    service.make_traits(traits)
    reply = service.put(
        f"/resource_providers/{uuid}/traits",
        {
            "resource_provider_generation": generation,
            "traits": sorted(traits),
        },
    )
    if reply.status != 200:
        raise _refused(service, f"the traits of provider {uuid}", reply)
    return int(reply.body["resource_provider_generation"])


def _refused(service: Service, what: str, reply: Reply) -> Exception:
    if reply.status != 400:
        return changed(what, detail(reply))
    if "No such" not in detail(reply):
        return errors.Unavailable(
            f"Placement {service.name} refuses {what} ({detail(reply)});"
            " check the releases of both"
        )
    # Somebody took a trait or class away that nobody had yet.
    service.forget()
    return changed(what, detail(reply))


def changed(what: str, words: str) -> Again:
    """What to raise when others were faster."""
    return Again(
        errors.Conflict(f"{what} changed at each attempt ({words}); try again")
    )


def delete_traits(service: Service, traits: Iterable[str]) -> None:
    """Take traits of ours away from Placement, where nobody has them."""
    for trait in traits:
        service.delete(f"/traits/{trait}")
    service.forget()
