"""Next hops over netlink are iproute2's, in a network namespace."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin.formats import routes

SEEDS = range(12)
CHECKOUT = Path(__file__).parents[2]
# A process namespace as well: its first process is in the network's.
NAMESPACE = ("unshare", "--net", "--pid", "--fork", "--mount-proc")
READ = """
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.formats import rtnetlink
print(HostTree().read(rtnetlink.PATH).decode(), end="")
"""
SCRIPT = """
set -e
ip link set lo up
for name in br0 br1 br2; do
    ip link add "$name" type bridge
    ip link set "$name" up
done
echo {compatible} > /proc/sys/net/ipv4/nexthop_compat_mode
ip addr add 192.0.2.10/24 dev br0
ip addr add 10.0.0.7/32 dev lo
ip addr add 2001:db8::10/64 dev br1 nodad
ip nexthop add id 1 via fe80::1 dev br0
ip nexthop add id 2 via fe80::2 dev br2
ip nexthop add id 3 blackhole
ip nexthop add id 42 group 1/2
{commands}
ip -j -4 route show table all
echo ---
ip -j -6 route show table all
echo ---
ip -j nexthop show
echo ---
{python} -c '{read}'
echo ---
unshare --net {python} -c '{read}'
"""
DRAWN = (
    "ip -4 route add default proto bgp nexthop via inet6 fe80::a dev br0"
    " weight 1 nexthop via inet6 fe80::b dev br1 weight 2",
    "ip -6 route add default nexthop via fe80::a dev br1"
    " nexthop via fe80::b dev br2",
    "ip -4 route add default via 192.0.2.1 dev br0 metric 5",
    "ip -4 route add 198.51.100.0/24 nhid 42",
    "ip -4 route add 198.51.101.0/24 nhid 1",
    "ip -4 route add 198.51.102.0/24 nhid 3",
    "ip -6 route add 2001:db8:1::/48 nhid 42",
    "ip -4 route add 203.0.113.0/24 dev br2 scope link",
    "ip -4 route add default via 192.0.2.1 dev br0 table 51820",
    "ip -6 route add default via 2001:db8::3 dev br1 table 100",
    "ip -4 route add unreachable 198.18.0.0/15",
    "ip -4 route add blackhole 198.19.0.0/16",
    "ip -6 route add unreachable 2001:db8:2::/48",
    "ip -4 route add 127.9.0.0/16 dev lo",
    "ip route add local 198.51.103.0/24 dev lo",
)
TABLES = {"default": "253", "local": "255", "main": "254"}


@pytest.mark.parametrize("seed", SEEDS)
def test_next_hops_are_iproute2s(seed: int) -> None:
    bridge = ("ip", "link", "add", "br0", "type", "bridge")
    attempt = subprocess.run(
        (*NAMESPACE, *bridge), check=False, capture_output=True
    )
    if attempt.returncode:
        pytest.skip("no network namespace with a bridge can be made here")
    drawn = random.Random(seed)  # noqa: S311 - a test input
    commands = drawn.sample(DRAWN, k=drawn.randint(1, len(DRAWN)))
    script = SCRIPT.format(
        compatible=seed % 2,
        commands="\n".join(commands),
        python=sys.executable,
        read=READ,
    )
    output = subprocess.run(
        (*NAMESPACE, "sh", "-c", script),
        check=True,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    ).stdout
    ipv4, ipv6, objects, read, entered = output.split("---\n")
    assert entered == read
    devices = _devices(json.loads(objects))
    shown = {
        (family, *hop)
        for family, table in (("inet", ipv4), ("inet6", ipv6))
        for row in json.loads(table)
        for hop in _hops(row, devices)
    }
    assert {_fields(line) for line in read.splitlines()} == shown
    assert len(list(routes.parse_next_hops(read))) <= len(shown)


def _fields(line: str) -> tuple[str, str, str, str]:
    family, destination, _, interface, _, table = line.split()
    return family, _network(destination), interface, table


def _network(destination: str) -> str:
    if destination == "default":
        return destination
    return str(ipaddress.ip_network(destination))


def _devices(objects: list[dict[str, Any]]) -> dict[int, list[str]]:
    """Return the interfaces of each next hop object, by its id."""
    devices = {row["id"]: [row["dev"]] for row in objects if "dev" in row}
    for row in objects:
        for member in row.get("group", ()):
            devices.setdefault(row["id"], []).extend(devices[member["id"]])
    return devices


def _hops(
    row: dict[str, Any], devices: dict[int, list[str]]
) -> Iterator[tuple[str, str, str]]:
    """Yield destination, interface and table of iproute2's next hops."""
    if row.get("type", "unicast") != "unicast":
        return
    names = [hop["dev"] for hop in row.get("nexthops", ())]
    names += [row["dev"]] if "dev" in row else []
    names += devices.get(row.get("nhid", 0), [])
    table = str(row.get("table", "main"))
    for name in names:
        yield _network(row["dst"]), name, TABLES.get(table, table)
