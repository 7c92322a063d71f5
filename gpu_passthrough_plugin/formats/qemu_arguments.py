"""What QEMU's own arguments hand to a guest, and where its BARs may go.

A libvirt domain may carry arguments that libvirt gives to QEMU as they
are.  Source: libvirt, drvqemu.html (pass-through of arbitrary QEMU
commands); qemu, qemu-options.hx, util/qemu-option.c, hw/vfio/pci.c,
block/nvme.c, hw/nvram/fw_cfg.c and util/cutils.c (qemu_strtosz).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import address as addresses
from gpu_passthrough_plugin.model.address import Address

# Device models that take a function of the host, with their properties that
# name it: where several are given, QEMU uses the first of these.
_MODELS = {
    "vfio-pci": ("sysfsdev", "host"),
    "vfio-pci-nohotplug": ("sysfsdev", "host"),
    # Of Xen, and of QEMU before 3.0.
    "xen-pci-passthrough": ("hostaddr",),
    "pci-assign": ("host",),
    "kvm-pci-assign": ("host",),
}
# A dummy that goes with an integrated card, and takes nothing itself.
_DUMMY = "vfio-pci-igd-lpc-bridge"
# A model that a later QEMU may have.
_LIKELY = re.compile(r"vfio-pci|pci-(?:assign|passthrough)")
# Properties that decide which function it is.
_NAMING = frozenset({"driver", "fd", "host", "hostaddr", "sysfsdev"})

# Source: qemu, qdev-properties-system.c (set_pci_host_devaddr): numbers in
# hexadecimal, of any length, the domain optional.
_HOST = re.compile(
    r"(?:([0-9a-fA-F]+):)?([0-9a-fA-F]+):([0-9a-fA-F]+)\.([0-7])"
)
_MOST = (0xFFFFFFFF, 0xFF, 0x1F)
_SIZE = re.compile(r"([0-9]{1,19})([bkmgtpe]?)", re.IGNORECASE)
_DECIMAL = re.compile(r"[0-9]{1,9}")
_MMIO64 = "opt/ovmf/X-PciMmio64Mb"
_HOLE64 = "pci-hole64-size"
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NVME_URL = re.compile(r"nvme://([^/]*)")
# A disk that libblkio drives through VFIO.  Source: qemu, block/blkio.c.
_LIBBLKIO = "virtio-blk-vfio-pci"
# Source: libvirt, qemu_alias.c (qemuAssignDeviceHostdevAlias).
_HOSTDEV = re.compile(r"hostdev[0-9]+")
_JSON_FILE = "json:"
# Longer ones have no use, and would cost much to take apart.
_MAX_LENGTH = 1 << 16
_SHOWN = 80


class ArgumentFunctions(NamedTuple):
    """PCI functions that arguments hand over.

    :param unreadable: arguments that may hand one over as well, and do not
        say which, shortened for a message.
    """

    functions: tuple[Address, ...]
    unreadable: tuple[str, ...]


class BarArguments(NamedTuple):
    """Arguments that decide where a guest's BARs may go.

    :param mmio64_mib: the window that OVMF is told to make; None for none.
    :param hole64_bytes: ``pci-hole64-size``; 0 where it is not set.
    :param sets_cpu: whether a CPU is chosen here, over libvirt's.
    """

    mmio64_mib: int | None
    hole64_bytes: int
    sets_cpu: bool


class _Unreadable(Exception):
    """An argument may name a function, and cannot be read."""


def host_functions(arguments: Sequence[str]) -> ArgumentFunctions:
    """Return the PCI functions of the host that QEMU's arguments name.

    Every pair of neighbours is read, so that an argument is read as an
    option's value also where another option took it for its own: that
    names a function too many, and never one too few.
    """
    functions: dict[Address, None] = {}
    unreadable: dict[str, None] = {}
    pairs = tuple(itertools.pairwise((*arguments, "")))
    ids = frozenset(_made_ids(pairs))
    for argument, follower in pairs:
        try:
            functions.update(
                dict.fromkeys(_functions(argument, follower, ids))
            )
        except _Unreadable as error:
            unreadable[_shortened(str(error))] = None
    return ArgumentFunctions(tuple(functions), tuple(unreadable))


def bar_arguments(arguments: Sequence[str]) -> BarArguments:
    """Return what the arguments say of where BARs may go; the last counts."""
    mmio64_mib, hole64_bytes, sets_cpu = None, 0, False
    for argument, follower in itertools.pairwise((*arguments, "")):
        option = _option(argument)
        if option == "fw_cfg":
            mmio64_mib = _mmio64_mib(follower) or mmio64_mib
        elif option == "global":
            hole64_bytes = _hole64_bytes(follower) or hole64_bytes
        elif option == "cpu":
            sets_cpu = True
    return BarArguments(mmio64_mib, hole64_bytes, sets_cpu)


def _mmio64_mib(text: str) -> int | None:
    """Return the number of ``name=opt/ovmf/X-PciMmio64Mb,string=NUMBER``."""
    options = _optional(text)
    name = options.get("name", options.get("driver"))
    number = options.get("string", "")
    is_number = name == _MMIO64 and _DECIMAL.fullmatch(number)
    return int(number) if is_number else None


def _hole64_bytes(text: str) -> int:
    """Return the size of ``q35-pcihost.pci-hole64-size=SIZE``; 0 for none."""
    name, _, value = text.rpartition("=")
    options = _optional(text)
    if options.get("property") == _HOLE64:
        name, value = _HOLE64, options.get("value", "")
    match = _SIZE.fullmatch(value)
    if not name.endswith(_HOLE64) or match is None:
        return 0
    number, unit = match.groups()
    return int(number) << 10 * "bkmgtpe".index(unit.lower() or "b")


def _optional(text: str) -> dict[str, str]:
    try:
        return _options(text)
    except _Unreadable:
        return {}


def _made_ids(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the ids of devices that arguments make."""
    for argument, text in pairs:
        if _option(argument) == "device":
            with contextlib.suppress(_Unreadable):
                yield _properties(text).get("id", "")


def _functions(
    argument: str, follower: str, ids: frozenset[str]
) -> Iterator[Address]:
    # The name of an image may stand without any option.
    for place in _NVME_URL.findall(argument):
        yield _sysfs_name(place, argument)
    option = _option(argument)
    if option == "device":
        yield from _device(follower)
    elif option == "global":
        yield from _default(follower)
    elif option in ("drive", "blockdev"):
        yield from _block(follower)
    elif option == "readconfig" or (
        option == "set" and _may_name_function(follower, ids)
    ):
        raise _Unreadable(f"{argument} {follower}")
    elif argument.startswith(_JSON_FILE):
        yield from _block(argument.removeprefix(_JSON_FILE))


def _option(argument: str) -> str:
    """Return an option's name, with one dash or two; "" for other words."""
    match = re.fullmatch(r"--?([a-z_]+)", argument)
    return match[1] if match else ""


def _device(text: str) -> Iterator[Address]:
    """Yield the function of ``-device``: ``MODEL,PROPERTY=VALUE…`` or JSON."""
    properties = _properties(text)
    model = properties.get("driver", "")
    if model not in _MODELS:
        if _LIKELY.search(model) and model != _DUMMY:
            raise _Unreadable(text)
        return
    # An open file of a function (fd) does not tell which one it is.
    names = [name for name in _MODELS[model] if name in properties]
    if not names or "fd" in properties:
        raise _Unreadable(text)
    yield from _named(names[0], properties[names[0]])


def _default(text: str) -> Iterator[Address]:
    """Yield the function of ``-global``: ``MODEL.PROPERTY=VALUE``."""
    model, dot, rest = text.partition(".")
    name, _, value = rest.partition("=")
    if not dot or "," in model or "=" in model:
        options = _options(text)
        model = options.get("driver", "")
        name, value = options.get("property", ""), options.get("value", "")
    if _LIKELY.search(model) and name in _NAMING:
        yield from _named(name, value)


def _may_name_function(text: str, ids: frozenset[str]) -> bool:
    """Return whether ``-set GROUP.ID.PROPERTY=VALUE`` may name a function.

    :param ids: of devices that are not libvirt's.
    """
    group, _, rest = text.partition(".")
    device, _, name = rest.partition("=")[0].rpartition(".")
    if group == "device" and name == "driver":
        model = {"driver": rest.partition("=")[2]}
        is_libvirts = is_hostdev(device) and device not in ids
        return names_function(model, is_hostdev=is_libvirts)
    is_naming = group == "device" and name in _NAMING
    return is_naming or "nvme" in text or _LIBBLKIO in text


def is_hostdev(alias: str) -> bool:
    """Return whether libvirt calls a ``<hostdev>`` so by itself."""
    return bool(_HOSTDEV.fullmatch(alias))


def names_function(properties: Mapping[str, str], *, is_hostdev: bool) -> bool:
    """Return whether properties that a device is given may name a function.

    Another model for a host device that libvirt makes, such as the one that
    cannot be unplugged for a vGPU with a display, leaves it what its
    ``<hostdev>`` names.

    :param is_hostdev: whether the device is one of these.
    """
    if not _NAMING.isdisjoint(properties.keys() - {"driver"}):
        return True
    model = properties.get("driver", "")
    if model in _MODELS:
        return not is_hostdev
    return bool(_LIKELY.search(model)) and model != _DUMMY


def _named(name: str, value: str) -> Iterator[Address]:
    """Yield the function that a property names, but no mediated device."""
    if name == "sysfsdev":
        # The last part of the path is the device; what it is below of may
        # be its parent, and stays with the host.
        last = value.rstrip("/").rpartition("/")[2]
        if not _UUID.fullmatch(last):
            yield _sysfs_name(last, f"{name}={value}")
    elif name in ("host", "hostaddr"):
        yield _host(value)
    else:
        raise _Unreadable(f"{name}={value}")


def _block(text: str) -> Iterator[Address]:
    """Yield functions of ``-drive`` and ``-blockdev``, also nested ones."""
    options = _properties(text)
    for name, value in options.items():
        prefix, _, last = name.rpartition("driver")
        if not last and value == "nvme" and prefix[-1:] in ("", "."):
            device = options.get(f"{prefix}device", "")
            yield _sysfs_name(device, text)
        elif value.startswith(_JSON_FILE):
            yield from _block(value.removeprefix(_JSON_FILE))
        elif not last and value == _LIBBLKIO and prefix[-1:] in ("", "."):
            path = options.get(f"{prefix}path", "")
            yield _sysfs_name(path.rstrip("/").rpartition("/")[2], text)
        for place in _NVME_URL.findall(value):
            yield _sysfs_name(place, text)


def _properties(text: str) -> dict[str, str]:
    return _json(text) if text.startswith("{") else _options(text)


def _options(text: str) -> dict[str, str]:
    """Return the values of ``NAME=VALUE,…`` by name; the last of one counts.

    A first value without a name is the driver; ``,,`` is a comma.
    """
    if len(text) > _MAX_LENGTH:
        raise _Unreadable(text)
    options = {}
    # No argument of a process has a zero in it.
    for number, part in enumerate(text.replace(",,", "\0").split(",")):
        name, equals, value = part.replace("\0", ",").partition("=")
        if not equals and not number:
            name, value = "driver", name
        options[name] = value
    return options


def _json(text: str) -> dict[str, str]:
    """Return the members of an object, nested ones under dotted names."""
    if len(text) > _MAX_LENGTH:
        raise _Unreadable(text)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        # QEMU takes strings in single quotes as well.
        raise _Unreadable(text) from error
    options: dict[str, str] = {}
    todo: list[tuple[str, object]] = [("", document)]
    while todo:
        name, value = todo.pop()
        if isinstance(value, list):
            value = dict(enumerate(value))
        if not isinstance(value, dict):
            options[name] = str(value)
            continue
        prefix = f"{name}." if name else ""
        todo += [(f"{prefix}{key}", member) for key, member in value.items()]
    return options


def _host(text: str) -> Address:
    match = _HOST.fullmatch(text)
    if match is None:
        raise _Unreadable(f"host={text}")
    *place, function = match.groups(default="0")
    numbers = [int(number, 16) for number in place]
    if any(n > most for n, most in zip(numbers, _MOST, strict=True)):
        raise _Unreadable(f"host={text}")
    domain, bus, slot = numbers
    return Address(domain, bus, slot, int(function))


def _sysfs_name(name: str, argument: str) -> Address:
    """Return the address that is a name in sysfs.

    :raises _Unreadable: naming ``argument``, for any other text.
    """
    try:
        return addresses.parse(name)
    except errors.Invalid as error:
        raise _Unreadable(argument) from error


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
