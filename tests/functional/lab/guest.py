"""The nested guest: a boot sector that tells which functions it holds."""

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

FORCED = "/opt/lab/guest.img"
"""The guest that only force stops."""

OBEDIENT = "/opt/lab/guest-acpi.img"
"""The guest that switches off at the ACPI power button."""

MEMORY_MIB = 64
"""All of it is pinned while the guest holds a device; less is quicker."""

_ADDRESS = re.compile(r"(\w{4,}):(\w\w):(\w\w)\.([0-7])")
_SEEN = re.compile(r"^\S+ ([0-9a-f]{4}:[0-9a-f]{4}) [0-9a-f]{4}$", re.M)


def seen(serial: str) -> tuple[str, ...] | None:
    """Return ``vendor:device`` of each function that a guest found.

    None means that its list is not complete yet.
    """
    if not serial.endswith("END\n"):
        return None
    return tuple(_SEEN.findall(serial))


def domain_xml(
    name: str,
    uuid: str,
    serial_path: str,
    *,
    functions: Sequence[str] = (),
    disk: str = FORCED,
) -> str:
    """Return libvirt's description of a nested guest.

    :param serial_path: the host's file that the guest's findings go to.
    :param functions: addresses of PCI functions to hand over, managed.
    :param disk: ``FORCED`` or ``OBEDIENT``.
    """
    return f"""\
<domain type="qemu">
  <name>{escape(name)}</name>
  <uuid>{escape(uuid)}</uuid>
  <memory unit="MiB">{MEMORY_MIB}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine="q35">hvm</type>
    <boot dev="hd"/>
  </os>
  <features><acpi/></features>
  <devices>
    <disk type="file" device="disk">
      <driver name="qemu" type="raw"/>
      <source file={quoteattr(disk)}/>
      <target dev="vda" bus="virtio"/>
      <readonly/>
      <shareable/>
    </disk>
    <controller type="usb" model="none"/>
    <serial type="file">
      <source path={quoteattr(serial_path)}/>
    </serial>
    <memballoon model="none"/>
{"".join(map(_hostdev, functions))}\
  </devices>
</domain>
"""


def _hostdev(function: str) -> str:
    """Return the element that hands a function over."""
    found = _ADDRESS.fullmatch(function)
    if found is None:
        raise ValueError(f"{function!r} is no PCI address dddd:bb:ss.f")
    domain, bus, slot, number = found.groups()
    return f"""\
    <hostdev mode="subsystem" type="pci" managed="yes">
      <source>
        <address domain="0x{domain}" bus="0x{bus}" slot="0x{slot}"
                 function="0x{number}"/>
      </source>
    </hostdev>
"""
