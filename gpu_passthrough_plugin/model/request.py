"""What an instance requests, in Nova's own syntax."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import resource_class
from gpu_passthrough_plugin.model.unit import DeviceType, UnitFunction


class NumaPolicy(enum.StrEnum):
    """Nova's NUMA policies.  Source: nova, objects/fields.py."""

    REQUIRED = "required"
    LEGACY = "legacy"
    PREFERRED = "preferred"
    SOCKET = "socket"


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """One ``[pci] alias`` entry: what a function must be to satisfy it.

    An id or resource class that is None matches any.

    :param traits: those that its unit has to have, all of them.
    """

    vendor_id: int | None
    product_id: int | None
    device_type: DeviceType
    resource_class: str | None
    traits: frozenset[str]

    def matches(self, function: UnitFunction, traits: frozenset[str]) -> bool:
        """Return whether an endpoint of a unit with ``traits`` fits."""
        own = resource_class.of_ids(function.vendor_id, function.product_id)
        return (
            self.traits <= traits
            and self.vendor_id in (None, function.vendor_id)
            and self.product_id in (None, function.product_id)
            and self.device_type is function.device_type
            and self.resource_class in (None, own)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Alias:
    """A name and the entries that satisfy it; any one of them does."""

    name: str
    numa_policy: NumaPolicy
    specs: tuple[Spec, ...]

    def matches(self, function: UnitFunction, traits: frozenset[str]) -> bool:
        """Return whether an endpoint counts for this alias: primaries do.

        :param traits: of the unit that it belongs to.
        """
        return function.is_primary and any(
            spec.matches(function, traits) for spec in self.specs
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A number of functions of one alias."""

    alias: Alias
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """Everything that an instance requests, from one host.

    :param numa_nodes: host NUMA nodes that the instance's memory is on;
        None when it is not tied to any.
    :param same_switch: whether all units have to be below one PCIe switch;
        of one unit that is always true.
    :param forbidden_traits: no unit that has one of them is taken.
    :param aggregate: only hosts that are in it; None for any host.
    """

    items: tuple[Item, ...]
    numa_nodes: frozenset[int] | None = None
    same_switch: bool = False
    forbidden_traits: frozenset[str] = frozenset()
    aggregate: str | None = None
    # A request is looked up in caches at every claim, and what it is made
    # of is deep.
    _hash: int = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(self._parts))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[Request], tuple[object, ...]]:
        # Another process hashes texts differently.
        return Request, self._parts

    @property
    def _parts(self) -> tuple[object, ...]:
        return (
            self.items,
            self.numa_nodes,
            self.same_switch,
            self.forbidden_traits,
            self.aggregate,
        )

    def __str__(self) -> str:
        return ",".join(f"{i.alias.name}:{i.count}" for i in self.items)


_ITEM = re.compile(r"([^:,\s]+):(\S+)")


def parse(
    text: str,
    aliases: Mapping[str, Alias],
    numa_nodes: frozenset[int] | None = None,
) -> Request:
    """Return the request that ``text`` names, such as ``gpu:2,nic:1``.

    Source: nova, pci/request.py (``pci_passthrough:alias``).

    :raises Faults: with each part that is malformed, unknown, repeated
        or asks for fewer than one.
    """
    items: list[Item] = []
    faults: list[str] = []
    for part in text.split(","):
        fault = _item_fault(part, aliases, items)
        if fault:
            faults.append(f"request {text!r}: {fault}")
            continue
        name, count = part.strip().rsplit(":", 1)
        items.append(Item(aliases[name], int(count)))
    if faults:
        raise errors.Faults(tuple(faults))
    return Request(tuple(items), numa_nodes)


def _item_fault(
    part: str, aliases: Mapping[str, Alias], items: list[Item]
) -> str:
    match = _ITEM.fullmatch(part.strip())
    if match is None:
        return (
            f"{part!r} is not a valid item; expected ALIAS:COUNT, such as"
            " gpu:1"
        )
    name, count = match.groups()
    if not re.fullmatch(r"[0-9]{1,4}", count) or int(count) < 1:
        return (
            f"count {count!r} of alias {name!r} is not valid; expected 1 to"
            " 9999"
        )
    if name not in aliases:
        names = ", ".join(sorted(aliases)) or "none"
        return (
            f"alias {name!r} is not known; configured: {names};"
            " add it to [pci] alias"
        )
    if any(item.alias.name == name for item in items):
        return f"alias {name!r} occurs twice; use it once, with the sum"
    return ""
