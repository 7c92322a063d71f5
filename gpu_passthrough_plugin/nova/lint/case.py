"""A configuration held against a host: what the rules look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.group import Group, Role
from gpu_passthrough_plugin.nova.lint import alias_entry, device_spec
from gpu_passthrough_plugin.nova.lint.alias_entry import AliasEntry
from gpu_passthrough_plugin.nova.lint.device import Device, devices
from gpu_passthrough_plugin.nova.lint.device_spec import DeviceSpec
from gpu_passthrough_plugin.nova.lint.entry import Fault
from gpu_passthrough_plugin.nova.lint.listing import Listed, listing
from gpu_passthrough_plugin.nova.lint.options import Options
from gpu_passthrough_plugin.nova.release import Release


class Pair(NamedTuple):
    """A function that Nova may hand out, and the entry that says so."""

    device: Device
    spec: DeviceSpec


class Case(NamedTuple):
    """Everything that a rule may look at.

    :param listed: the ``device_spec`` entries in Nova's order.
    :param pairs: the endpoints that they list, by entry, then address.
    :param aliases: the ``alias`` entries in their order.
    """

    options: Options
    release: Release
    devices: tuple[Device, ...]
    listed: tuple[Listed, ...]
    pairs: tuple[Pair, ...]
    aliases: tuple[AliasEntry, ...]
    spec_faults: tuple[Fault, ...]
    alias_faults: tuple[Fault, ...]


def case(options: Options, groups: Sequence[Group], release: Release) -> Case:
    """The configuration, and what of the host it lists.

    :raises Invalid: when it has more entries than any host has devices.
    """
    host = devices(groups)
    specs, spec_faults = device_spec.parse(options.device_spec)
    aliases, alias_faults = alias_entry.parse(options.alias)
    listed = listing(specs, host)
    pairs = tuple(
        Pair(device, found.spec)
        for found in listed
        for device in found.taken
        if device.role is not Role.BRIDGE
    )
    return Case(
        options, release, host, listed, pairs, aliases, spec_faults,
        alias_faults,
    )  # fmt: skip
