"""What a host has besides PCI functions: disks, NICs, sockets, firmware."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpu_passthrough_plugin.formats import rtnetlink
from tests.trees.host import Host


def disk(host: Host, below: str, name: str, number: str) -> str:
    """Add a disk or partition; its device path.

    :param below: device path of what it is on, such as an AHCI function's
        or a disk's; a relative one is below ``/devices/virtual``.
    :param number: ``MAJOR:MINOR``.
    """
    is_part = f"/block/{name[:-1]}" in below or "/nvme/" in below
    kind = "partition" if is_part and below[-1] != "0" else "disk"
    return host.device(
        f"{below}/{name}",
        "block",
        {"dev": f"{number}\n"},
        properties={"DEVNAME": f"/dev/{name}", "DEVTYPE": kind},
    )


def mapped(host: Host, number: int, name: str, slaves: Iterable[str]) -> str:
    """Add a device-mapper device on others, by their device paths."""
    return host.device(
        f"block/dm-{number}",
        "block",
        {"dev": f"253:{number}\n", "dm/name": f"{name}\n"},
        {
            f"slaves/{path.rpartition('/')[2]}": f"/sys{path}"
            for path in slaves
        },
        {"DEVNAME": f"/dev/dm-{number}", "DEVTYPE": "disk"},
    )


def mounts(host: Host, mounted: Mapping[str, tuple[str, str, str]]) -> None:
    """Mount disks: by mount point the number, source and file system.

    The root is in memory where it is on none of them.
    """
    if "/" not in mounted:
        mounted = {"/": ("0:2", "rootfs", "rootfs"), **mounted}
    rows = [
        f"{20 + at} 1 {number} / {point} rw,relatime shared:1 -"
        f" {kind} {source} rw\n"
        for at, (point, (number, source, kind)) in enumerate(mounted.items())
    ]
    host.file("proc/1/mountinfo", "".join(rows))


def swaps(host: Host, *sources: str) -> None:
    """Swap to these devices."""
    rows = [f"{source} partition 4194300 0 -2\n" for source in sources]
    head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    host.file("proc/swaps", head + "".join(rows))


def nic(host: Host, below: str, name: str, index: int, **links: str) -> str:
    """Add a network interface; its device path."""
    return host.device(
        f"{below}/net/{name}" if below else f"net/{name}",
        "net",
        {"ifindex": f"{index}\n", "iflink": f"{index}\n"},
        links,
        {"INTERFACE": name, "IFINDEX": str(index)},
    )


_ROUTE = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask"
    "\t\tMTU\tWindow\tIRTT"
)


def routes(host: Host, ipv4: Iterable[str], ipv6: Iterable[str] = ()) -> None:
    """Route by default over these interfaces."""
    rows = [
        f"{name}\t00000000\t00000000\t0003\t0\t0\t100\t00000000\t0\t0\t0"
        for name in ipv4
    ]
    lines = "".join(f"{row:<127}\n" for row in (_ROUTE, *rows))
    host.file("proc/1/net/route", lines)
    zero = "0" * 32
    rows = [
        f"{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000"
        f" 00000003 {name:>8}\n"
        for name in ipv6
    ]
    host.file("proc/1/net/ipv6_route", "".join(rows))


def next_hops(host: Host, *lines: str) -> None:
    """Let the kernel's dump say this: ``inet default dev eno1``.

    In the main table where a line names no other.
    """
    rows = [
        line if " table " in line else f"{line} table 254" for line in lines
    ]
    host.file(rtnetlink.PATH, "".join(f"{row}\n" for row in rows))


def iscsi_disk(
    host: Host, name: str, number: str, session: int, **address: str
) -> str:
    """Add a disk that open-iscsi reaches over TCP; its device path.

    :param address: the files of the session's connection.
    """
    below = f"/devices/platform/host{session}/session{session}"
    connection = f"connection{session}:0"
    host.device(
        f"{below}/{connection}/iscsi_connection/{connection}",
        "iscsi_connection",
        {key: f"{value}\n" for key, value in address.items()},
    )
    bus = f"{below}/target{session}:0:0/{session}:0:0:1/block"
    return disk(host, bus, name, number)


def nvme_over(host: Host, name: str, transport: str, address: str) -> str:
    """Add an NVMe controller on a fabric; its device path."""
    return host.device(
        f"/devices/virtual/nvme-fabrics/ctl/{name}",
        "nvme",
        {"transport": f"{transport}\n", "address": f"{address}\n"},
    )


def sockets(host: Host, cpus: Iterable[str]) -> None:
    """Give each socket one NUMA node, with these CPUs."""
    for number, cpulist in enumerate(cpus):
        first = cpulist.partition("-")[0]
        host.device(
            f"/devices/system/node/node{number}",
            "node",
            {"cpulist": f"{cpulist}\n"},
        )
        host.device(
            f"/devices/system/cpu/cpu{first}",
            "cpu",
            {"topology/physical_package_id": f"{number}\n"},
        )


def firmware(
    host: Host,
    cpu: str,
    arguments: str,
    tables: Iterable[str],
    iommus: Iterable[str],
) -> None:
    """Set what the firmware and the command line say of the IOMMU.

    :param cpu: as in ``/proc/cpuinfo``, such as ``GenuineIntel``.
    :param tables: names of the ACPI tables.
    :param iommus: names in ``/sys/class/iommu``.
    """
    host.file("proc/cpuinfo", f"processor\t: 0\nvendor_id\t: {cpu}\n")
    host.file("proc/cmdline", f"{arguments}\n")
    for table in tables:
        host.folder(f"sys/firmware/acpi/tables/{table}")
    host.folder("sys/class/iommu")
    for name in iommus:
        host.device(f"iommu/{name}", "iommu")


def consoles(host: Host, *names: str) -> None:
    """Make these the consoles that the kernel writes to."""
    active = " ".join(names)
    host.device("tty/console", "tty", {"active": f"{active}\n"})


def aliases(host: Host, lines: Mapping[str, str]) -> None:
    """Offer modules for functions: patterns and the modules' names."""
    rows = [f"alias {pattern} {name}\n" for pattern, name in lines.items()]
    host.file(f"lib/modules/{host.release}/modules.alias", "".join(rows))
