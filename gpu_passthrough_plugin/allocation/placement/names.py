"""What things of ours are called in Placement."""

from __future__ import annotations

import re
import uuid

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import UnitKey

# Resource classes.
HOST = "CUSTOM_GPU_PASSTHROUGH_HOST"
LEASE = "CUSTOM_GPU_PASSTHROUGH_LEASE"

# Traits that mark the providers of ours.
IS_HOST = "CUSTOM_GPU_PASSTHROUGH_HOST"
IS_UNIT = "CUSTOM_GPU_PASSTHROUGH_UNIT"

LAYOUT = "CUSTOM_GPU_PASSTHROUGH_LAYOUT_"
"""A trait of that name and a number says how all of this is laid out."""
KNOWN_LAYOUT = 2

FACT = "CUSTOM_GPUPT_"
"""Traits that begin with it are ours to add and to take away."""
IS_DISABLED = f"{FACT}DISABLED"

# Nova's own.  Source: os-traits; nova, compute/pci_placement_translator.py.
NOVA_DISABLED = "COMPUTE_STATUS_DISABLED"
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


def host_of(provider: str) -> str:
    """The host that a provider of that name is of."""
    return provider.removesuffix(_HOST_SUFFIX)


def unit_provider(key: UnitKey) -> str:
    """The name of a unit's provider.

    Source: nova, compute/pci_placement_translator.py.
    """
    return f"{key.host}_{str(key.address).upper()}"


def unit_of(provider: str) -> UnitKey | None:
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


def address_text(found: Address) -> str:
    """An address in the letters that a trait may have."""
    return re.sub(r"[:.]", "_", str(found)).upper()


def address_in(parts: list[str]) -> Address:
    """The address that four parts of a trait name."""
    domain, bus, slot, function = (int(part, 16) for part in parts)
    return Address(domain, bus, slot, function)
