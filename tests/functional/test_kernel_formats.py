"""Readers of what the kernel writes, against programs that read the same.

util-linux for mountinfo and the kernel's log, iproute2 for routes, and the
kernel itself for paths below a root.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import itertools
import json
import os
import random
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin.formats import (
    chroot_path,
    kernel_log,
    mountinfo,
    routes,
)
from gpu_passthrough_plugin.model.reading import Unknown

SEEDS = range(12)
# Source: Linux, include/uapi/linux/openat2.h; arch/x86/entry/syscalls.
_OPENAT2, _RESOLVE_IN_ROOT = 437, 0x10
_LIBC = ctypes.CDLL(None, use_errno=True)


def _open_in_root(root: int, path: str) -> str | int:
    """Return the path that the kernel opens below a root, or its error."""
    how = struct.pack("QQQ", os.O_PATH, 0, _RESOLVE_IN_ROOT)
    opened = _LIBC.syscall(_OPENAT2, root, path.encode(), how, len(how))
    if opened < 0:
        return ctypes.get_errno()
    try:
        return os.readlink(f"/proc/self/fd/{opened}")
    finally:
        os.close(opened)


@pytest.mark.parametrize("seed", SEEDS)
def test_paths_below_a_root_are_the_kernels(tmp_path: Path, seed: int) -> None:
    drawn = random.Random(seed)  # noqa: S311 - a test input
    folders = [""]
    for name in "abcd":
        folders.append(f"{drawn.choice(folders)}/{name}".lstrip("/"))
        (tmp_path / folders[-1]).mkdir()
    parts = ["a", "b", "c", "d", "l0", "l1", "l2", "l3", "..", ".", ""]
    for name in ("l0", "l1", "l2", "l3"):
        target = "/".join(drawn.choices(parts, k=drawn.randint(1, 4)))
        start = drawn.choice(["", "/"])
        if start + target:
            link = tmp_path / drawn.choice(folders) / name
            link.symlink_to(start + target)

    def read_link(path: str) -> str | None:
        try:
            return os.readlink(tmp_path / path)
        except OSError:
            return None

    root = os.open(tmp_path, os.O_PATH)
    try:
        agreed = 0
        for _ in range(300):
            path = "/".join(drawn.choices(parts, k=drawn.randint(1, 6)))
            opened = _open_in_root(root, path or ".")
            resolved = chroot_path.resolve(path, read_link)
            if opened == errno.ELOOP:
                assert isinstance(resolved, Unknown), path
            elif isinstance(opened, str):
                assert resolved == opened.removeprefix(str(tmp_path)).lstrip(
                    "/"
                ), path
                agreed += 1
            # What does not exist resolves to where it would be.
    finally:
        os.close(root)
    assert agreed > 20


def test_as_many_links_are_followed_as_the_kernel_follows(
    tmp_path: Path,
) -> None:
    (tmp_path / "0").mkdir()
    for number in range(1, 50):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    root = os.open(tmp_path, os.O_PATH)
    try:
        for number in range(50):
            resolved = chroot_path.resolve(
                str(number),
                lambda path: (
                    os.readlink(tmp_path / path)
                    if (tmp_path / path).is_symlink()
                    else None
                ),
            )
            opened = _open_in_root(root, str(number))
            assert isinstance(resolved, Unknown) == (opened == errno.ELOOP)
    finally:
        os.close(root)


_NAMES = [
    "/dev/sda1",
    "rpool/ROOT",
    "srv:/x y",
    "tab\there",
    "a\\b",
    "#x",
    "ü",
]


def _escaped(text: str) -> str:
    """As the kernel's mangle() writes it."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in text)


@pytest.mark.parametrize("seed", SEEDS)
def test_mounts_are_util_linuxs(tmp_path: Path, seed: int) -> None:
    drawn = random.Random(seed)  # noqa: S311 - a test input
    lines, points = [], itertools.count()
    for number in range(20):
        point = f"/{drawn.choice(_NAMES)}{next(points)}"
        kind = drawn.choice(["ext4", "btrfs", "nfs4", "tmpfs", "overlay"])
        optional = "".join(
            drawn.sample(
                ["shared:1 ", "master:2 ", "unbindable "], k=number % 4
            )
        )
        lines.append(
            f"{number + 20} {20 if number else 1} {drawn.randint(0, 259)}:"
            f"{drawn.randint(0, 40)} {drawn.choice(['/', '/sub'])}"
            f" {_escaped(point) if number else '/'} rw,noatime {optional}-"
            f" {kind} {_escaped(drawn.choice(_NAMES))} rw,size=1k"
        )
    path = tmp_path / "mountinfo"
    table = "".join(f"{line}\n" for line in lines)
    path.write_text(table)
    shown = _json(
        "findmnt", "--tab-file", str(path), "--json", "--list", "--nofsroot",
        "--output", "MAJ:MIN,TARGET,FSTYPE,SOURCE",
    )  # fmt: skip
    assert sorted(mount[:4] for mount in mountinfo.parse(table)) == sorted(
        (row["maj:min"], row["target"], row["fstype"], row["source"])
        for row in shown["filesystems"]
    )


# Run in a network namespace of its own, which ends with the process.
_ROUTES = """
set -e
for name in br0 br1 br2; do
    ip link add "$name" type bridge
    ip link set "$name" up
done
ip link set lo up
ip link set br2 down
ip addr add 192.0.2.10/24 dev br0
ip addr add 2001:db8::10/64 dev br1 nodad
{commands}
ip -j -4 route show table main
echo ---
ip -j -6 route show table all
echo ---
cat /proc/self/net/route
echo ---
cat /proc/self/net/ipv6_route
"""
_DRAWN = (
    "ip route add default via 192.0.2.1 dev br0",
    "ip route add 198.51.100.0/24 via 192.0.2.2 dev br0 metric 7",
    "ip route add 203.0.113.0/24 dev br1 scope link",
    "ip route add unreachable 198.18.0.0/15",
    "ip route add blackhole 198.19.0.0/16",
    "ip route add 127.9.0.0/16 dev lo",
    "ip -6 route add default via 2001:db8::1 dev br1",
    "ip -6 route add 2001:db8:1::/48 via 2001:db8::2 dev br1",
    "ip -6 route add unreachable 2001:db8:2::/48",
    "ip -6 route add default via 2001:db8::3 dev br1 table 100",
)


@pytest.mark.parametrize("seed", SEEDS)
def test_interfaces_of_routes_are_iproute2s(seed: int) -> None:
    if _fails(
        "unshare", "--net", "ip", "link", "add", "br0", "type", "bridge"
    ):
        pytest.skip("no network namespace with a bridge can be made here")
    drawn = random.Random(seed)  # noqa: S311 - a test input
    commands = drawn.sample(_DRAWN, k=drawn.randint(0, len(_DRAWN)))
    script = _ROUTES.format(commands="\n".join(commands))
    out = _output("unshare", "--net", "sh", "-c", script)
    ipv4_json, ipv6_json, ipv4, ipv6 = out.split("---\n")
    assert _interfaces(routes.parse_ipv4(ipv4)) == _shown(
        json.loads(ipv4_json)
    )
    assert _interfaces(routes.parse_ipv6(ipv6)) == _shown(
        json.loads(ipv6_json)
    )


def _interfaces(found: Any) -> set[tuple[str, bool]]:
    return {(route.interface, route.is_default) for route in found}


def _shown(rows: list[dict[str, Any]]) -> set[tuple[str, bool]]:
    """Interfaces of iproute2's routes, but those of every link."""
    return {
        (row["dev"], row["dst"] == "default")
        for row in rows
        if row.get("type", "unicast") not in _REJECTING
        and row["dev"] != "lo"
        and not _is_of_every_link(row["dst"])
        and "linkdown" not in row.get("flags", ())
    }


_REJECTING = frozenset({"unreachable", "blackhole", "prohibit", "throw"})


def _is_of_every_link(destination: str) -> bool:
    if destination == "default":
        return False
    network = ipaddress.ip_network(destination, strict=False)
    return network.version == 6 and (
        network.is_link_local or network.is_multicast
    )


_MESSAGES = (
    "vfio_pci: add [10de:1430[ffffffff:ffffffff]] class 0x000000/00000000",
    "DMAR: IOMMU enabled",
    "pci 0000:06:00.0: Adding to iommu group 18",
    "tab\tand  blanks  ",
)


def test_a_log_is_read_as_dmesg_reads_it(tmp_path: Path) -> None:
    """In every form in which dmesg prints the same records."""
    path = tmp_path / "log"
    path.write_text(
        "".join(
            f"<{6 + number % 2}>[{number:5d}.{number:06d}] {message}\n"
            for number, message in enumerate(_MESSAGES)
        )
    )
    wanted = tuple(message.rstrip() for message in _MESSAGES)
    assert kernel_log.parsed(path.read_text()) == wanted
    forms = (
        ("--raw",), ("--decode",), ("--notime",), ("--time-format", "ctime"),
        ("--time-format", "iso"), ("--decode", "--time-format", "iso"),
    )  # fmt: skip
    for options in forms:
        printed = _output("dmesg", "--file", str(path), *options)
        assert kernel_log.parsed(printed) == wanted, options


def _output(*argv: str) -> str:
    return subprocess.run(
        argv, check=True, capture_output=True, encoding="utf-8"
    ).stdout


def _json(*argv: str) -> Any:
    return json.loads(_output(*argv))


def _fails(*argv: str) -> bool:
    return (
        subprocess.run(argv, check=False, capture_output=True).returncode != 0
    )
