"""Which functions a configuration hands to Nova, and by which entry.

Source: nova, pci/whitelist.py (device_assignable) and pci/devspec.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint.device import Device
from gpu_passthrough_plugin.nova.lint.device_spec import DeviceSpec
from gpu_passthrough_plugin.nova.lint.pattern import ANY


class Listed(NamedTuple):
    """An entry, and what it matches.

    :param matched: every function that fits it.
    :param taken: those that no entry before it fits.
    """

    spec: DeviceSpec
    matched: tuple[Device, ...]
    taken: tuple[Device, ...]


def listing(
    specs: Sequence[DeviceSpec], devices: Sequence[Device]
) -> tuple[Listed, ...]:
    """Each entry with its functions: the first that fits one has it."""
    seen: set[Address] = set()
    found = []
    for spec in specs:
        matched = _matched(spec, devices)
        taken = tuple(d for d in matched if d.address not in seen)
        seen.update(d.address for d in taken)
        found.append(Listed(spec, matched, taken))
    return tuple(found)


def _matched(
    spec: DeviceSpec, devices: Sequence[Device]
) -> tuple[Device, ...]:
    if spec.devname:
        return ()
    named = spec.pattern.single
    is_physical = bool(named) and any(
        d.kind is DeviceType.PF and str(d.address) == named for d in devices
    )
    return tuple(d for d in devices if _matches(spec, d, is_physical))


def _matches(spec: DeviceSpec, device: Device, is_physical: bool) -> bool:
    """A physical function's address matches its virtual functions too."""
    vendor, product = device.ids
    if spec.vendor_id not in (ANY, vendor):
        return False
    if spec.product_id not in (ANY, product):
        return False
    if spec.pattern.matches(device.address):
        return True
    parent = device.physical
    return is_physical and parent is not None and spec.pattern.matches(parent)
