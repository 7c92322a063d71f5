"""The address of a PCI function, and its text form."""

from __future__ import annotations

import re
from typing import NamedTuple

from gpu_passthrough_plugin import errors

# Domains are 16 bits wide by the specification; Linux gives those above
# ffff to VMD and Hyper-V buses (drivers/pci/controller/vmd.c).
_FORM = re.compile(
    r"(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])"
)


class Address(NamedTuple):
    """A PCI address, ``dddd:bb:ss.f``; ordered by its four numbers.

    A tuple and no dataclass: ten thousand are made in a listing.
    """

    domain: int
    bus: int
    slot: int
    function: int

    def __str__(self) -> str:
        # Takes half the time that an f-string of four fields does.
        return "%04x:%02x:%02x.%x" % self  # noqa: UP031 - see above

    @property
    def slot_address(self) -> tuple[int, int, int]:
        """What the functions of one slot share: domain, bus and slot.

        They need not be one card, nor a card's only functions.
        """
        return self[:3]


# virsh's name of the function.  Source: libvirt,
# src/node_device/node_device_udev.c, udevGenerateDeviceName.
_NODE_DEVICE = re.compile(
    r"pci_([0-9a-f]{4,8})_([0-9a-f]{2})_([0-9a-f]{2})_([0-7])"
)


def parse_typed(text: str) -> Address:
    """Return the address that an operator typed.

    :param text: as ``parse`` takes it, or virsh's name of the function, such
        as ``pci_0000_06_00_0``.
    :raises Invalid: when it is neither.
    """
    match = _NODE_DEVICE.fullmatch(text)
    return parse("{}:{}:{}.{}".format(*match.groups()) if match else text)


def parse(text: str) -> Address:
    """Return the address in ``text``; its domain is 0 by default.

    :raises Invalid: when it is not ``[domain:]bus:slot.function`` in hex.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise errors.Invalid(
            f"{text!r} is not a PCI address; expected"
            " DOMAIN:BUS:SLOT.FUNCTION in hexadecimal, such as 0000:06:00.0"
        )
    domain, bus, slot, function = match.groups()
    return Address(
        int(domain or "0", 16), int(bus, 16), int(slot, 16), int(function)
    )
