"""What things of ours are called in Placement.

A unit is written as traits: ``CUSTOM_GPUPT_`` and one of

* ``GROUP_<number>``, ``NODE_<number>``, ``SOCKET_<number>``
* ``SWITCH_<address>``
* ``F_<address>_<vendor>_<product>_<class>_<PCI, PF or VF>_<P or C>``, of
  each function: a primary or a companion
* ``REASON_…``, why it is quarantined (``text``)

The unit's own traits stand beside them as they are.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterable, Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
    UnitKey,
)

# Resource classes.
HOST_CLASS = "CUSTOM_GPU_PASSTHROUGH_HOST"
STATE_COUNTER = "CUSTOM_GPU_PASSTHROUGH_LEASE"

# Traits that mark the providers of ours.
HOST_TRAIT = "CUSTOM_GPU_PASSTHROUGH_HOST"
UNIT_TRAIT = "CUSTOM_GPU_PASSTHROUGH_UNIT"

LAYOUT_PREFIX = "CUSTOM_GPU_PASSTHROUGH_LAYOUT_"
"""A trait of that name and a number says how all of this is laid out."""
LAYOUT = 2

TRAIT_PREFIX = "CUSTOM_GPUPT_"
"""Traits that begin with it are ours to add and to take away."""
CORDONED_TRAIT = f"{TRAIT_PREFIX}DISABLED"

# Nova's own.  Source: os-traits; nova, compute/pci_placement_translator.py.
NOVA_DISABLED_TRAIT = "COMPUTE_STATUS_DISABLED"
NOVA_OWNED = frozenset({"OWNER_NOVA", "COMPUTE_MANAGED_PCI_DEVICE"})

PROJECT = "gpu-passthrough-plugin"
"""``project_id`` of our consumers; no project of Keystone's."""
CONSUMER_TYPE = "GPU_PASSTHROUGH"

MAX_NAME = 200
"""Characters of a provider's name.  Source: placement, schemas."""

_NAMESPACE = uuid.UUID("6f6cf0a5-2e42-5a57-9f0c-0cf3a6a6e5a5")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HOST_SUFFIX = "_gpu-passthrough"


def host_provider(host: str) -> str:
    """The name of our provider of a host, below the compute node's."""
    return f"{host}{_HOST_SUFFIX}"


def host_in(provider: str) -> str:
    """The host that a provider of that name is of."""
    return provider.removesuffix(_HOST_SUFFIX)


def unit_provider(key: UnitKey) -> str:
    """The name of a unit's provider.

    Source: nova, compute/pci_placement_translator.py.
    """
    return f"{key.host}_{str(key.address).upper()}"


def unit_key_in(provider: str) -> UnitKey | None:
    """The unit or function that a provider names; None if none."""
    host, _, text = provider.rpartition("_")
    try:
        return UnitKey(host, address.parse(text))
    except errors.Invalid:
        return None


def aggregate(name: str) -> str:
    """The UUID of a host aggregate; a name that is one is its own."""
    if _UUID.fullmatch(name):
        return name.lower()
    return str(uuid.uuid5(_NAMESPACE, name))


def _address_text(found: Address) -> str:
    """An address in the letters that a trait may have."""
    return re.sub(r"[:.]", "_", str(found)).upper()


def _address_in(parts: list[str]) -> Address:
    """The address that four parts of a trait name."""
    domain, bus, slot, function = (int(part, 16) for part in parts)
    return Address(domain, bus, slot, function)


# Of base32's letters, with room for what stands before them.
_CHUNK = 200


def text_traits(kind: str, texts: Iterable[str]) -> frozenset[str]:
    """Traits that together say ``texts``, each of them in pieces.

    ``CUSTOM_GPUPT_<kind>_<which text>_<which piece>_<base32>``
    """
    return frozenset(
        f"{TRAIT_PREFIX}{kind}_{number}_{piece}_{letters}"
        for number, text in enumerate(sorted(texts))
        for piece, letters in enumerate(_pieces(text))
    )


def _pieces(text: str) -> Iterator[str]:
    letters = base64.b32encode(text.encode()).decode().rstrip("=")
    for start in range(0, len(letters), _CHUNK):
        yield letters[start : start + _CHUNK]


def texts_in(kind: str, found: Iterable[str]) -> tuple[str, ...]:
    """What traits of that kind say; empty texts are not kept."""
    pieces: dict[int, dict[int, str]] = {}
    begin = f"{TRAIT_PREFIX}{kind}_"
    for trait in found:
        if trait.startswith(begin):
            number, piece, letters = trait.removeprefix(begin).split("_")
            pieces.setdefault(int(number), {})[int(piece)] = letters
    return tuple(
        _text("".join(letters for _, letters in sorted(found.items())))
        for _, found in sorted(pieces.items())
    )


def _text(letters: str) -> str:
    padding = "=" * (-len(letters) % 8)
    return base64.b32decode(letters + padding).decode(errors="replace")


REASON = "REASON"
_TYPE = "type-"


def unit_traits(unit: Unit, reason: str = "") -> frozenset[str]:
    """Every trait of a unit's provider."""
    numbers = {
        "GROUP": unit.iommu_group,
        "NODE": unit.numa_node,
        "SOCKET": unit.socket,
    }
    words = {
        f"{name}_{number}"
        for name, number in numbers.items()
        if number is not None
    }
    if unit.switch is not None:
        words.add(f"SWITCH_{_address_text(unit.switch)}")
    words |= {_function_text(function) for function in unit.functions}
    own = {f"{TRAIT_PREFIX}{word}" for word in words}
    said = text_traits(REASON, [reason])
    return frozenset(own | said | unit.traits | {UNIT_TRAIT})


def _function_text(function: UnitFunction) -> str:
    kind = function.device_type.value.removeprefix(_TYPE)
    return (
        f"F_{_address_text(function.address)}"
        f"_{function.vendor_id:04X}_{function.product_id:04X}"
        f"_{function.class_code:06X}_{kind}"
        f"_{'P' if function.is_primary else 'C'}"
    )


def unit_in(host: str, found: Iterable[str]) -> Unit | None:
    """The unit of a host that these traits tell of; None if of none."""
    found = frozenset(found)
    words: dict[str, list[list[str]]] = {}
    for trait in found:
        if trait.startswith(TRAIT_PREFIX):
            name, *parts = trait.removeprefix(TRAIT_PREFIX).split("_")
            words.setdefault(name, []).append(parts)
    functions = sorted(
        (_function(parts) for parts in words.get("F", ())),
        key=lambda function: function.address,
    )
    primaries = [f.address for f in functions if f.is_primary]
    group = _number(words.get("GROUP"))
    if not primaries or group is None:
        return None
    switches = words.get("SWITCH")
    return Unit(
        key=UnitKey(host, primaries[0]),
        iommu_group=group,
        functions=tuple(functions),
        numa_node=_number(words.get("NODE")),
        socket=_number(words.get("SOCKET")),
        switch=_address_in(switches[0]) if switches else None,
        traits=frozenset(
            trait
            for trait in found - {UNIT_TRAIT}
            if not trait.startswith(TRAIT_PREFIX)
        ),
    )


def _function(parts: list[str]) -> UnitFunction:
    vendor, product, code, kind, role = parts[4:]
    return UnitFunction(
        address=_address_in(parts[:4]),
        vendor_id=int(vendor, 16),
        product_id=int(product, 16),
        class_code=int(code, 16),
        device_type=DeviceType(f"{_TYPE}{kind}"),
        is_primary=role == "P",
    )


def _number(found: list[list[str]] | None) -> int | None:
    return int(found[0][0]) if found else None


def reason_in(found: Iterable[str]) -> str:
    """Why a unit was quarantined, if it was."""
    return "".join(texts_in(REASON, found))


MAX_LENGTH = 255
"""Source: placement, schemas/allocation.py."""
_BETWEEN = "; "


def user_id(request: Request) -> str:
    """The request and what else it asks for: ``gpu:1,nic:1; nodes 0,1``.

    :raises Invalid: when that is longer than Placement keeps.
    """
    words = [str(request)]
    if request.numa_nodes is not None:
        nodes = ",".join(map(str, sorted(request.numa_nodes)))
        words.append(f"nodes {nodes}")
    if request.same_switch:
        words.append("same switch")
    words += [f"not {trait}" for trait in sorted(request.forbidden_traits)]
    found = _BETWEEN.join(words)
    if len(found) > MAX_LENGTH:
        raise errors.Invalid(
            f"the request {str(request)[:40]}… with its conditions is"
            f" {len(found)} characters long, and Placement keeps"
            f" {MAX_LENGTH}; use shorter names in [pci] alias"
        )
    return found


def request_in(asked: str) -> str:
    """The request itself, such as ``gpu:1``."""
    return asked.partition(_BETWEEN)[0]


def is_same_request(asked: str, request: Request) -> bool:
    """Whether that was asked for, in whatever order."""
    return _sorted(asked) == _sorted(user_id(request))


def _sorted(asked: str) -> tuple[list[str], str]:
    request, _, rest = asked.partition(_BETWEEN)
    return sorted(request.split(",")), rest
