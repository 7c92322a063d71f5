"""How hosts, units and requests are named and written in Placement.

A unit is written as traits of its provider: ``CUSTOM_GPUPT_`` and one of

* ``GROUP_<number>``, ``NODE_<number>``, ``SOCKET_<number>``
* ``SWITCH_<address>``
* ``F_<address>_<vendor>_<product>_<class>_<PCI, PF or VF>_<P or C>``, one
  for each function: a primary or a companion
* ``REASON_…``, the text of why it is quarantined

The traits that an operator gave the unit are written as they are.

Every name here is stored in existing ledgers: a change needs a new layout
(see ``version``).
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

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

# Resource classes of this driver.
HOST_CLASS = "CUSTOM_GPU_PASSTHROUGH_HOST"
STATE_COUNTER = "CUSTOM_GPU_PASSTHROUGH_LEASE"

# Traits that mark this driver's providers.
HOST_TRAIT = "CUSTOM_GPU_PASSTHROUGH_HOST"
UNIT_TRAIT = "CUSTOM_GPU_PASSTHROUGH_UNIT"

LAYOUT_PREFIX = "CUSTOM_GPU_PASSTHROUGH_LAYOUT_"
"""The trait with this prefix and a number names the layout of the ledger."""
LAYOUT = 2

TRAIT_PREFIX = "CUSTOM_GPUPT_"
"""Only this driver adds and removes traits with this prefix."""
CORDONED_TRAIT = f"{TRAIT_PREFIX}DISABLED"
WATCHED_TRAIT = f"{TRAIT_PREFIX}WATCHED"

# Kinds of texts that are written as traits.
CORDON_REASON = "WHY"
MACHINE = "MACHINE"
AGGREGATE = "AGGREGATE"
QUARANTINE_REASON = "REASON"
HOST_TEXTS = (CORDON_REASON, MACHINE, AGGREGATE)

NOVA_DEVICE_TRAITS = frozenset({"COMPUTE_MANAGED_PCI_DEVICE", "OWNER_NOVA"})
"""Traits of the providers that nova-compute makes for PCI devices.

Source: nova, compute/pci_placement_translator.py; os-traits 3.
"""
# Of consumers that Placement lost.  Source: placement, conf/placement.py
# (incomplete_consumer_project_id).
INCOMPLETE_PROJECT = "00000000-0000-0000-0000-000000000000"
# Source: os-traits.
NOVA_DISABLED_TRAIT = "COMPUTE_STATUS_DISABLED"

PROJECT = "gpu-passthrough-plugin"
"""``project_id`` of this driver's consumers; Keystone has no such project."""
CONSUMER_TYPE = "GPU_PASSTHROUGH"

MAX_PROVIDER_NAME = 200
"""Characters.  Source: placement, schemas/resource_provider.py."""
MAX_USER_ID = 255
"""Characters.  Source: placement, schemas/allocation.py."""

_NAMESPACE = uuid.UUID("6f6cf0a5-2e42-5a57-9f0c-0cf3a6a6e5a5")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
HOST_SUFFIX = "_gpu-passthrough"
# base32 letters in one trait: 255 characters less what precedes them.
_CHUNK = 200
_DEVICE_TYPE_PREFIX = "type-"
_CONDITION_SEPARATOR = "; "


def host_provider(host: str) -> str:
    """Return the name of a host's provider, below its compute node's."""
    return f"{host}{HOST_SUFFIX}"


def host_in(provider: str) -> str:
    """Return the host whose provider has this name.

    :raises Invalid: when it is not the name of a host's provider.
    """
    host = provider.removesuffix(HOST_SUFFIX)
    if host in ("", provider):
        raise errors.Invalid(
            f"the provider's name {provider!r} does not end in {HOST_SUFFIX}"
        )
    return host


def unit_provider(key: UnitKey) -> str:
    """Return the name of a unit's provider.

    Source: nova, compute/pci_placement_translator.py.
    """
    return f"{key.host}_{str(key.address).upper()}"


def unit_key_in(provider: str) -> UnitKey | None:
    """Return the unit or function in a provider's name; None if none."""
    host, _, text = provider.rpartition("_")
    try:
        return UnitKey(host, address.parse(text))
    except errors.Invalid:
        return None


def aggregate(name: str) -> str:
    """Return the UUID of a host aggregate; a name may be its own UUID."""
    if _UUID.fullmatch(name):
        return name.lower()
    return str(uuid.uuid5(_NAMESPACE, name))


def text_traits(kind: str, texts: Iterable[str]) -> frozenset[str]:
    """Return traits that together spell ``texts``.

    A trait has at most 255 characters, all of ``[A-Z0-9_]``; hence
    ``CUSTOM_GPUPT_<kind>_<number of text>_<number of piece>_<base32>``.
    """
    return frozenset(
        f"{_text_prefix(kind)}{number}_{piece}_{letters}"
        for number, text in enumerate(sorted(texts))
        for piece, letters in enumerate(_pieces(text))
    )


def texts_in(kind: str, traits: Iterable[str]) -> tuple[str, ...]:
    """Return the texts of a kind that traits spell, without empty ones.

    :raises Invalid: when a trait of that kind spells no text.
    """
    prefix = _text_prefix(kind)
    texts: dict[int, dict[int, str]] = {}
    for trait in traits:
        if trait.startswith(prefix):
            match = _TEXT.fullmatch(trait.removeprefix(prefix))
            if match is None:
                raise _malformed(trait)
            number, piece, letters = match.groups()
            texts.setdefault(int(number), {})[int(piece)] = letters
    return tuple(
        _decoded(
            prefix, "".join(letters for _, letters in sorted(pieces.items()))
        )
        for _, pieces in sorted(texts.items())
    )


def text_in(kind: str, traits: Iterable[str]) -> str:
    """Return the one text of a kind that traits spell, or an empty text."""
    return "".join(texts_in(kind, traits))


def without_texts(traits: Iterable[str], *kinds: str) -> frozenset[str]:
    """Return the traits that spell no text of these kinds."""
    prefixes = tuple(_text_prefix(kind) for kind in kinds)
    return frozenset(t for t in traits if not t.startswith(prefixes))


def _text_prefix(kind: str) -> str:
    return f"{TRAIT_PREFIX}{kind}_"


def _pieces(text: str) -> Iterator[str]:
    letters = base64.b32encode(text.encode()).decode().rstrip("=")
    for start in range(0, len(letters), _CHUNK):
        yield letters[start : start + _CHUNK]


def _decoded(prefix: str, letters: str) -> str:
    padding = "=" * (-len(letters) % 8)
    try:
        data = base64.b32decode(letters + padding)
    except binascii.Error as error:
        raise _malformed(f"{prefix}…_{letters}") from error
    return data.decode(errors="replace")


def _malformed(trait: str) -> errors.Invalid:
    return errors.Invalid(f"trait {trait} is malformed")


def unit_traits(unit: Unit, quarantine_reason: str = "") -> frozenset[str]:
    """Return every trait of a unit's provider."""
    numbers = {
        "GROUP": unit.iommu_group,
        "NODE": unit.numa_node,
        "SOCKET": unit.socket,
    }
    facts = {
        f"{name}_{number}"
        for name, number in numbers.items()
        if number is not None
    }
    if unit.switch is not None:
        facts.add(f"SWITCH_{_address_fields(unit.switch)}")
    facts |= {_function_fields(function) for function in unit.functions}
    return frozenset(
        {UNIT_TRAIT}
        | {f"{TRAIT_PREFIX}{fact}" for fact in facts}
        | text_traits(QUARANTINE_REASON, [quarantine_reason])
        | unit.traits
    )


def unit_in(host: str, traits: Iterable[str]) -> Unit:
    """Return the unit of a host that traits describe.

    :raises Invalid: when they describe none, or one of them is malformed.
    """
    traits = frozenset(traits)
    facts: dict[str, list[str]] = {}
    for trait in sorted(traits):
        if trait.startswith(TRAIT_PREFIX):
            name = trait.removeprefix(TRAIT_PREFIX).partition("_")[0]
            facts.setdefault(name, []).append(trait)
    functions = sorted(
        (_function_in(trait) for trait in facts.get("F", ())),
        key=lambda function: function.address,
    )
    addresses = [f.address for f in functions]
    if len(set(addresses)) < len(addresses):
        raise errors.Invalid("its traits describe a function twice")
    primaries = [f.address for f in functions if f.is_primary]
    group = _number_in(facts, "GROUP")
    if not primaries or group is None:
        missing = "IOMMU group" if primaries else "primary function"
        raise errors.Invalid(f"its traits name no {missing}")
    return Unit(
        key=UnitKey(host, primaries[0]),
        iommu_group=group,
        functions=tuple(functions),
        numa_node=_number_in(facts, "NODE"),
        socket=_number_in(facts, "SOCKET"),
        switch=_switch_in(facts),
        traits=frozenset(
            trait
            for trait in traits - {UNIT_TRAIT}
            if not trait.startswith(TRAIT_PREFIX)
        ),
    )


def _function_fields(function: UnitFunction) -> str:
    device_type = function.device_type.value.removeprefix(_DEVICE_TYPE_PREFIX)
    return (
        f"F_{_address_fields(function.address)}"
        f"_{function.vendor_id:04X}_{function.product_id:04X}"
        f"_{function.class_code:06X}_{device_type}"
        f"_{'P' if function.is_primary else 'C'}"
    )


_ADDRESS = r"([0-9A-F]{4,8})_([0-9A-F]{2})_([01][0-9A-F])_([0-7])"
_FUNCTION = re.compile(
    rf"F_{_ADDRESS}_([0-9A-F]{{4}})_([0-9A-F]{{4}})_([0-9A-F]{{6}})"
    r"_(PCI|PF|VF)_([PC])"
)
_SWITCH = re.compile(rf"SWITCH_{_ADDRESS}")
_NUMBER = re.compile(r"[A-Z]+_([0-9]{1,9})")
_TEXT = re.compile(r"([0-9]{1,9})_([0-9]{1,9})_([A-Z0-9]*)")


@functools.lru_cache(4096)
def _function_in(trait: str) -> UnitFunction:
    fields = _fields(_FUNCTION, trait)
    vendor_id, product_id, class_code, device_type, role = fields[4:]
    return UnitFunction(
        address=_address_in(fields[:4]),
        vendor_id=int(vendor_id, 16),
        product_id=int(product_id, 16),
        class_code=int(class_code, 16),
        device_type=DeviceType(f"{_DEVICE_TYPE_PREFIX}{device_type}"),
        is_primary=role == "P",
    )


def _fields(form: re.Pattern[str], trait: str) -> tuple[str, ...]:
    match = form.fullmatch(trait.removeprefix(TRAIT_PREFIX))
    if match is None:
        raise _malformed(trait)
    return match.groups()


def _only(facts: Mapping[str, list[str]], kind: str) -> str | None:
    """Return the only trait of a kind; None when there is none."""
    traits = facts.get(kind, [])
    if len(traits) > 1:
        raise errors.Invalid(
            f"traits {traits[0]} and {traits[1]} contradict each other"
        )
    return traits[0] if traits else None


def _number_in(facts: Mapping[str, list[str]], kind: str) -> int | None:
    trait = _only(facts, kind)
    return None if trait is None else int(_fields(_NUMBER, trait)[0])


def _switch_in(facts: Mapping[str, list[str]]) -> Address | None:
    trait = _only(facts, "SWITCH")
    return None if trait is None else _address_in(_fields(_SWITCH, trait))


def _address_fields(function: Address) -> str:
    return re.sub(r"[:.]", "_", str(function)).upper()


def _address_in(fields: Sequence[str]) -> Address:
    domain, bus, slot, function = (int(field, 16) for field in fields)
    return Address(domain, bus, slot, function)


def user_id(request: Request) -> str:
    """Return a request with its conditions: ``gpu:1,nic:1; nodes 0,1``.

    :raises Invalid: when Placement does not store a text of that length.
    """
    terms = [str(request)]
    if request.numa_nodes is not None:
        nodes = ",".join(map(str, sorted(request.numa_nodes)))
        terms.append(f"nodes {nodes}")
    if request.same_switch:
        terms.append("same switch")
    terms += [f"not {trait}" for trait in sorted(request.forbidden_traits)]
    text = _CONDITION_SEPARATOR.join(terms)
    if len(text) > MAX_USER_ID:
        raise errors.Invalid(
            f"the request {str(request)[:40]}… with its conditions has"
            f" {len(text)} characters, and Placement stores {MAX_USER_ID};"
            " use shorter names in [pci] alias"
        )
    return text


def request_in(user_id: str) -> str:
    """Return the request without its conditions, such as ``gpu:1``."""
    return user_id.partition(_CONDITION_SEPARATOR)[0]


def is_same_request(stored_id: str, request: Request) -> bool:
    """Whether a stored ``user_id`` is this request, in any order of items."""
    return _sorted_items(stored_id) == _sorted_items(user_id(request))


def _sorted_items(text: str) -> tuple[list[str], str]:
    items, _, conditions = text.partition(_CONDITION_SEPARATOR)
    return sorted(items.split(",")), conditions
