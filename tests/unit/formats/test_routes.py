"""The kernel's tables of routes."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import routes

HEAD = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n"
)
IPV4 = [
    "eno1\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0",
    "eno1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
    "down\t000300C0\t00000000\t0000\t0\t0\t0\t00FFFFFF\t0\t0\t0",
    "lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0",
    "*\t000500C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
    "*\t000400C0\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0",
]
ZEROS, NET = "0" * 32, "20010db8" + "0" * 24


def ipv6(destination: str, prefix: str, flags: str, interface: str) -> str:
    return (
        f"{destination} {prefix} {ZEROS} 00 {ZEROS} 00000400 00000001 00000000"
        f" {flags} {interface:>8}"
    )


def test_ipv4_routes_that_are_up() -> None:
    found = list(routes.parse_ipv4(HEAD + "\n".join(IPV4) + "\n"))
    assert [(r.interface, r.is_default) for r in found] == [
        ("eno1", True),
        ("eno1", False),
    ]
    assert found[0].line == IPV4[0]
    assert list(routes.parse_ipv4("")) == []


def test_ipv6_routes_but_those_of_every_link() -> None:
    lines = [
        ipv6(ZEROS, "00", "00000003", "eno1"),
        ipv6(NET, "40", "00000001", "eno2"),
        ipv6("fe80" + "0" * 28, "40", "00000001", "eno3"),
        ipv6("ff00" + "0" * 28, "08", "00000001", "eno3"),
        ipv6(ZEROS, "00", "00200200", "lo"),
        ipv6(NET, "80", "00000000", "down"),
    ]
    found = routes.parse_ipv6("\n".join(lines) + "\n")
    assert [(r.interface, r.is_default) for r in found] == [
        ("eno1", True),
        ("eno2", False),
    ]


@pytest.mark.parametrize("line", ["eno1 0 0", "eno1\t0\t0\tx\t0\t0\t0\t0"])
def test_a_damaged_table_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"columns|invalid literal"):
        list(routes.parse_ipv4(HEAD + line))
    with pytest.raises(ValueError, match=r"columns|invalid literal"):
        list(routes.parse_ipv6(line))
