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
    assert found[1].destination == "192.0.2.0/24"
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


def test_links_that_are_up() -> None:
    lines = [
        ipv6("fe80" + "0" * 28, "40", "00000001", "eno3"),
        ipv6("ff00" + "0" * 28, "08", "00000001", "eno3"),
        ipv6("fe80" + "0" * 28, "40", "00000001", "lo"),
        ipv6(NET, "40", "00000001", "eno2"),
        "damaged",
    ]
    assert routes.links_up("\n".join(lines)) == ("eno3",)


def test_next_hops() -> None:
    text = """\
inet default dev eno1 table 254
inet default dev wg0 table 51820
inet 192.0.2.0/24 dev eno1 table 254
inet6 default dev eno2 table 254
inet6 fe80:0:0:0:0:0:0:0/64 dev eno3 table 254
inet6 ff:0:0:0:0:0:0:0/16 dev eno4 table 254
inet6 0:0:0:0:0:0:0:1/128 dev lo table 254
"""
    assert [
        (hop.interface, hop.is_default, hop.destination)
        for hop in routes.parse_next_hops(text)
    ] == [
        ("eno1", True, "0.0.0.0/0"),
        ("wg0", False, "0.0.0.0/0"),
        ("eno1", False, "192.0.2.0/24"),
        ("eno2", True, "::/0"),
        ("eno4", False, "ff:0:0:0:0:0:0:0/16"),
    ]


@pytest.mark.parametrize(
    "line",
    ["inet default eno1", "ipx default dev eno1 table 254", "a b dev c d e"],
)
def test_a_damaged_dump_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"line of routes|family"):
        list(routes.parse_next_hops(line))


def test_the_most_specific_route() -> None:
    table = [
        routes.Route(name, destination.endswith("/0"), destination, "")
        for name, destination in (
            ("eno1", "0.0.0.0/0"),
            ("eno2", "192.0.2.0/24"),
            ("eno3", "192.0.2.128/25"),
            ("eno4", "192.0.2.128/25"),
            ("eno5", "2001:db8::/32"),
        )
    ]

    index = routes.RouteIndex(table)

    def towards(address: str) -> list[str]:
        return [hop.interface for hop in index.towards(address)]

    assert towards("198.51.100.1") == ["eno1"]
    assert towards("192.0.2.1") == ["eno2"]
    assert towards("192.0.2.200") == ["eno3", "eno4"]
    assert towards("2001:db8::1") == ["eno5"]
    assert towards("fd00::1") == []
    with pytest.raises(ValueError, match="hidden"):
        towards("hidden")


@pytest.mark.parametrize(
    "line",
    [
        "eno1 0 0",
        "eno1\t0\t0\tx\t0\t0\t0\t0",
        "eno1\t1FFFFFFFF\t0\t0001\t0\t0\t0\t0",
        "eno1\t-1\t0\t0001\t0\t0\t0\t0",
    ],
)
def test_a_damaged_table_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"columns|invalid literal|32 bits"):
        list(routes.parse_ipv4(HEAD + line))
    with pytest.raises(ValueError, match=r"columns|invalid literal"):
        list(routes.parse_ipv6(line))
