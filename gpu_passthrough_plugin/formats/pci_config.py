"""PCI config space: what kind of port a bridge is, and what its ACS does.

Source: PCI Express Base Specification 6.0, 7.5.3 (capability 10h), 7.6.3
(extended capabilities) and 7.7.11 (Access Control Services); Linux,
drivers/pci/pci.c (pci_acs_enabled, pci_acs_flags_enabled).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.model.reading import Unknown, Why

BYTES = 4096
"""The size of a PCI Express function's config space."""

_HEADER, _CONVENTIONAL = 64, 256
_NO_ANSWER = b"\xff" * 4
# No capability's id.
_BEYOND = -1
_STATUS_AT = 0x06
_HAS_LIST = 0x10
_LIST_AT = 0x34
_EXPRESS = 0x10
_ACS = 0x000D


class PortType(enum.IntEnum):
    """The kinds of ports at which the kernel looks for isolation."""

    ROOT = 4
    UPSTREAM = 5
    DOWNSTREAM = 6


class Acs(NamedTuple):
    """Access Control Services: what a port can do, and what is turned on."""

    capability: int
    control: int

    @property
    def isolates(self) -> bool:
        """Whether the kernel takes what is below the port for isolated.

        What the port cannot do, it need not have turned on.
        """
        required = _REQUIRED & self.capability
        return self.control & required == required


# Source validation, P2P request and completion redirect, upstream
# forwarding.  Source: Linux, drivers/iommu/iommu.c (REQ_ACS_FLAGS).
_REQUIRED = 0x1D


class Port(NamedTuple):
    """A bridge of PCI Express.

    :param acs: None for a port without that capability; ``Unknown`` where
        only the conventional part of config space was read.
    """

    kind: int
    acs: Acs | Unknown | None

    @property
    def isolates(self) -> bool | Unknown:
        """Whether its ACS isolates what is below it."""
        if isinstance(self.acs, Unknown):
            return self.acs
        return self.acs is not None and self.acs.isolates


def port(config: bytes) -> Port | Unknown | None:
    """Return the port whose config space it is; None for any other bridge.

    ``Unknown`` where the capabilities that would say so lie beyond what was
    read, or the bridge does not answer.
    """
    if len(config) < _HEADER:
        return _unread(config)
    if config[:4] == _NO_ANSWER:
        return Unknown(Why.MALFORMED, "config space reads all ones")
    capabilities = dict(_capabilities(config))
    express = capabilities.get(_EXPRESS)
    if express is None:
        return _unread(config) if _BEYOND in capabilities else None
    if express + 4 > len(config):
        return _unread(config)
    kind = config[express + 2] >> 4
    extended = dict(_extended(config))
    at = extended.get(_ACS)
    if at is None:
        is_whole = _BEYOND not in extended
        return Port(kind, None if is_whole else _unread(config))
    if at + 8 > len(config):
        return Port(kind, _unread(config))
    return Port(kind, Acs(_word(config, at + 4), _word(config, at + 6)))


def _unread(config: bytes) -> Unknown:
    size = f"{len(config)} bytes of config space were read"
    return Unknown(Why.MISSING, size)


def reduced(config: bytes) -> bytes:
    """Return the config space with zeros for what ``port`` does not read.

    It may have a serial number.
    """
    kept = bytearray(len(config))
    kept[:_HEADER] = config[:_HEADER]
    for kind, at in _capabilities(config):
        size = 4 if kind == _EXPRESS else 2
        kept[at : at + size] = config[at : at + size]
    for kind, at in _extended(config):
        size = 8 if kind == _ACS else 4
        kept[at : at + size] = config[at : at + size]
    return bytes(kept)


def _capabilities(config: bytes) -> Iterator[tuple[int, int]]:
    """Yield ids and places of the conventional capabilities.

    ``_BEYOND`` for one that lies beyond what was read.
    """
    if len(config) < _HEADER or not config[_STATUS_AT] & _HAS_LIST:
        return
    at, seen = config[_LIST_AT] & 0xFC, set[int]()
    while at >= _HEADER and at not in seen:
        if at + 2 > len(config):
            yield _BEYOND, at
            return
        seen.add(at)
        yield config[at], at
        at = config[at + 1] & 0xFC


def _extended(config: bytes) -> Iterator[tuple[int, int]]:
    """Yield ids and places of the extended capabilities.

    ``_BEYOND`` for one that lies beyond what was read.
    """
    at, seen = _CONVENTIONAL, set[int]()
    while at >= _CONVENTIONAL and at not in seen:
        if at + 4 > len(config):
            yield _BEYOND, at
            return
        seen.add(at)
        header = int.from_bytes(config[at : at + 4], "little")
        if header in (0, 0xFFFFFFFF):
            return
        yield header & 0xFFFF, at
        at = header >> 20 & 0xFFC


def _word(config: bytes, at: int) -> int:
    return int.from_bytes(config[at : at + 2], "little")
