"""Hosts as Nova's scheduler has them, and Placement's answer for them.

The structures are those of nova 34: pools as ``PciDeviceStats`` holds
them in the scheduler, candidates as Placement's API 1.36 answers.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from gpu_passthrough_plugin.nova import pools
from gpu_passthrough_plugin.nova.candidates import Candidate

ROOT = "root"
# A card's functions: graphics, audio, USB and its connector's controller.
CARD = ("1e04", "10f8", "1ad8", "1ad9")


@dataclasses.dataclass
class Request:
    """The attributes of Nova's InstancePCIRequest that are read."""

    request_id: str
    count: int
    spec: list[dict[str, str]]
    alias_name: str | None = "alias"


def pool(address: str, product: str, node: int | None = 0, **tags: Any) -> Any:
    """One function; ``iommu_group`` is a tag as any other."""
    return {
        "vendor_id": "10de",
        "product_id": product,
        "numa_node": node,
        "count": 1,
        "address": address,
        "dev_type": "type-PCI",
        "rp_uuid": f"rp-{address}",
        **tags,
    }


def card(
    bus: int,
    node: int | None = 0,
    products: Sequence[str] = CARD,
    **tags: str,
) -> list[Any]:
    """The functions of a card, all in one group of the full mode."""
    tags = {"iommu_group": f"0000:{bus:02x}:00.0", **tags}
    return [
        pool(f"0000:{bus:02x}:00.{number}", product, node, **tags)
        for number, product in enumerate(products)
    ]


def request(
    product: str, count: int = 1, key: str = "", **spec: str
) -> Request:
    spec = {"vendor_id": "10DE", "product_id": product, **spec}
    return Request(key or f"req-{product}", count, [spec])


def cards(count: int) -> list[Request]:
    """A flavor for so many cards."""
    return [request(product, count) for product in CARD]


def asks(requests: Sequence[Request]) -> tuple[pools.AliasRequest, ...]:
    return pools.read_requests(requests)


def placement(
    found: Sequence[Any], requests: Sequence[Request], limit: int = 1000
) -> list[Candidate]:
    """Every way to take a provider for each function, up to the limit.

    The last request group changes first, as in Placement's own answer.
    """
    slots = [
        f"{request.request_id}-{number}"
        for request in requests
        for number in range(request.count)
    ]
    choices = [
        list(itertools.permutations(_units(found, request), request.count))
        for request in requests
    ]
    taken = (
        tuple(itertools.chain(*of_each))
        for of_each in itertools.product(*choices)
    )
    fit = (providers for providers in taken if _is_free(providers, found))
    return [
        _candidate(slots, providers, found)
        for providers in itertools.islice(fit, limit)
    ]


def functions(candidate: Candidate) -> list[str]:
    """The addresses that a candidate takes."""
    providers = [
        provider
        for slot, named in candidate["mappings"].items()
        if slot
        for provider in named
    ]
    return sorted(provider.removeprefix("rp-") for provider in providers)


def touched(candidate: Candidate, found: Sequence[Any]) -> Iterator[str]:
    """The groups of which it takes some function."""
    for one in found:
        if one["rp_uuid"] in candidate["allocations"]:
            yield one["iommu_group"]


def _units(found: Sequence[Any], request: Request) -> list[str]:
    """A provider once for each function that suits."""
    return [
        one["rp_uuid"]
        for one in found
        if _is_for(one, request)
        for _ in range(min(one["count"], request.count))
    ]


def _is_free(providers: Sequence[str], found: Sequence[Any]) -> bool:
    counts = {one["rp_uuid"]: one["count"] for one in found}
    return all(providers.count(p) <= counts[p] for p in providers)


def _is_for(found: Any, request: Request) -> bool:
    spec = request.spec[0]
    wanted = spec.get("resource_class", spec.get("product_id"))
    return wanted in (found["product_id"], found.get("of_class"))


def _candidate(
    slots: Sequence[str], providers: Sequence[str], found: Sequence[Any]
) -> Candidate:
    by_provider = {p["rp_uuid"]: p for p in found}
    allocations: Any = {ROOT: {"resources": {"VCPU": 2, "MEMORY_MB": 512}}}
    for provider in providers:
        product = by_provider[provider]["product_id"].upper()
        name = f"CUSTOM_PCI_10DE_{product}"
        had = allocations.setdefault(provider, {"resources": {name: 0}})
        had["resources"][name] += 1
    mappings = {"": [ROOT]}
    for slot, provider in zip(slots, providers, strict=True):
        mappings[slot] = [provider]
    return {"allocations": allocations, "mappings": mappings}
