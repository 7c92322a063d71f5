"""From a recording's devices to the files of the host they were on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import endpoints, paths
from gpu_passthrough_plugin.discovery.escapes import text
from gpu_passthrough_plugin.discovery.grammar import Device, Kind
from gpu_passthrough_plugin.discovery.recorded import RecordedTree

HOST = "/devices/virtual/recorded_host/host"
"""A device that no kernel has: it carries what is not below sys/devices.

umockdev loads it as any other.  Its attributes and links below ``root/``
are files and links of the host; ``folders`` and ``unreadable`` list
folders that are empty, or hold what was not read, and what could not be
read (a path, a tab and the system's error a line); ``devices`` counts the
recording's other devices, and ``note`` is for people.
"""
ROOT = "root/"

# The rest are classes.  Source: Linux, the ``bus_type`` of each.
_BUSES = frozenset(
    {
        "acpi", "clockevents", "clocksource", "cpu", "event_source", "hid",
        "i2c", "machinecheck", "mdio_bus", "memory", "memory_tiering",
        "nd", "node", "nvmem", "pci", "pci_express", "platform", "pnp",
        "scsi", "sdio", "serial", "serial-base", "serio", "spi", "usb",
        "virtio", "vmbus", "wmi", "workqueue", "xen",
    }
)  # fmt: skip


def tree(devices: Sequence[Device], title: str) -> RecordedTree:
    """The files that the devices were recorded from.

    :raises Faults: when devices are missing that there must have been.
    """
    host, others = None, []
    for device in devices:
        if device.path == HOST:
            host = device
        else:
            others.append(device)
    faults = [*_count_faults(host, others, title), *_gaps(others, title)]
    if faults:
        raise errors.Faults(tuple(faults))
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for device in others:
        files |= _files(device)
        links |= _links(device)
    if host is None:
        return RecordedTree(files, links, title=title)
    return _with_host(host, files, links, title)


def _with_host(
    host: Device, files: dict[str, bytes], links: dict[str, str], title: str
) -> RecordedTree:
    attributes = host.values(Kind.ATTRIBUTE) | host.values(Kind.BINARY)
    for key, value in attributes.items():
        if key.startswith(ROOT):
            files[key.removeprefix(ROOT)] = value
    for key, value in host.values(Kind.LINK).items():
        if key.startswith(ROOT):
            links[key.removeprefix(ROOT)] = text(value)
    unreadable = {}
    for line in text(attributes.get("unreadable", b"")).splitlines():
        path, _, why = line.partition("\t")
        unreadable[path] = why
    folders = text(attributes.get("folders", b"")).splitlines()
    return RecordedTree(files, links, folders, unreadable, title)


def _files(device: Device) -> dict[str, bytes]:
    base = f"sys{device.path}"
    uevent = b"".join(
        b"%s=%s\n" % (key.encode("utf-8", "surrogateescape"), value)
        for key, value in device.values(Kind.PROPERTY).items()
        if key != "__DEVCONTEXT"
    )
    contents = device.values(Kind.ATTRIBUTE) | device.values(Kind.BINARY)
    files = {f"{base}/{key}": value for key, value in contents.items()}
    return files | {f"{base}/uevent": uevent}


def _links(device: Device) -> dict[str, str]:
    """Its own links, and those by which the kernel lists it."""
    base = f"sys{device.path}"
    up = "../" * device.path.count("/")
    properties = device.values(Kind.PROPERTY)
    subsystem = text(properties["SUBSYSTEM"])
    kind = "bus" if subsystem in _BUSES else "class"
    links = {
        f"{base}/{key}": text(value)
        for key, value in device.values(Kind.LINK).items()
    }
    links[f"{base}/subsystem"] = f"{up}{kind}/{subsystem}"
    for place in _places(device, subsystem, kind):
        links[place] = "../" * place.count("/") + base
        links[place] = links[place].replace("../sys/", "", 1)
    return links


def _places(device: Device, subsystem: str, kind: str) -> Iterator[str]:
    """Paths of the links that lead to a device."""
    name = paths.name(device.path)
    if kind == "bus":
        yield f"sys/bus/{subsystem}/devices/{name}"
    else:
        yield f"sys/class/{subsystem}/{name}"
    number = _number(device)
    if number:
        kind = "block" if subsystem == "block" else "char"
        yield f"sys/dev/{kind}/{number}"
    group = device.values(Kind.LINK).get("iommu_group")
    if subsystem == "pci" and group is not None:
        number = paths.name(text(group))
        yield f"sys/kernel/iommu_groups/{number}/devices/{name}"


def _number(device: Device) -> str:
    """``MAJOR:MINOR``, or nothing for a device without a node."""
    properties = device.values(Kind.PROPERTY)
    if "MAJOR" in properties and "MINOR" in properties:
        return text(properties["MAJOR"] + b":" + properties["MINOR"])
    return text(device.values(Kind.ATTRIBUTE).get("dev", b"")).strip()


def _count_faults(
    host: Device | None, others: Sequence[Device], title: str
) -> Iterator[str]:
    if host is None:
        return
    wanted = text(host.values(Kind.ATTRIBUTE).get("devices", b"")).strip()
    if wanted and wanted != str(len(others)):
        yield (
            f"{title} holds {len(others)} devices; its beginning says"
            f" {wanted}: copy it anew, whole"
        )


def _gaps(devices: Sequence[Device], title: str) -> Iterator[str]:
    """umockdev-record writes a device's parents with it."""
    known = {device.path for device in devices}
    missing: dict[str, str] = {}
    for device in devices:
        folder = device.path.rpartition("/")[0]
        while folder:
            if folder not in known and endpoints.functions(paths.name(folder)):
                missing.setdefault(folder, device.path)
            folder = folder.rpartition("/")[0]
    for folder, below in missing.items():
        yield (
            f"{title} has {below} without {folder} above it;"
            " copy it anew, whole"
        )
