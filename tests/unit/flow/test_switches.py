"""Which cards share a PCIe switch, on hosts described in public reports."""

from __future__ import annotations

from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from tests.trees.host import Host
from tests.trees.hosts import server

BRIDGE = "060400"
POLICY = Policy((selector.parse("class=0302"),))


def bridge(host: Host, ids: str, places: list[tuple[str, str | None]]) -> None:
    """Add bridges (address, address of the one above), in this order."""
    for number, (address, above) in enumerate(places):
        host.function(
            address,
            ids,
            BRIDGE,
            under=above,
            group=int(address[5:7], 16) * 100 + number,
            below=f"{address[:5]}ff",
        )


def cards(host: Host, places: dict[str, str], ids: str = "10de:1b38") -> None:
    for number, (address, above) in enumerate(places.items(), 50_000):
        host.function(
            address, ids, "030200", under=above, group=number, bars=(4096,)
        )


def switches(host: Host) -> dict[str, str | None]:
    """Return the switch of each unit, by the address of its card."""
    units = host_snapshot.read(host.tree(), POLICY).units("h")
    return {
        str(unit.key.address): unit.switch and str(unit.switch)
        for unit in units
    }


def test_two_switches_below_one_root_port() -> None:
    """perplexityai/pplx-garden#2: a root port is not the switch."""
    host = server()
    bridge(host, "8086:352a", [("0000:7c:01.0", None), ("0001:7c:01.0", None)])
    switch_ports: list[tuple[str, str | None]] = [
        ("0000:7d:00.0", "0000:7c:01.0"),
        ("0000:7e:00.0", "0000:7d:00.0"),
        ("0000:7e:01.0", "0000:7d:00.0"),
        ("0000:a1:00.0", "0000:7e:01.0"),
        ("0000:a2:00.0", "0000:a1:00.0"),
        ("0000:a2:01.0", "0000:a1:00.0"),
        ("0001:7d:00.0", "0001:7c:01.0"),
        ("0001:7e:00.0", "0001:7d:00.0"),
        ("0001:7e:01.0", "0001:7d:00.0"),
    ]
    bridge(host, "1000:c030", switch_ports)
    cards(
        host,
        {
            "0000:7f:00.0": "0000:7e:00.0",
            "0000:a3:00.0": "0000:a2:00.0",
            "0000:a4:00.0": "0000:a2:01.0",
            "0001:7f:00.0": "0001:7e:00.0",
            "0001:80:00.0": "0001:7e:01.0",
        },
    )
    assert switches(host) == {
        "0000:7f:00.0": "0000:7d:00.0",
        "0000:a3:00.0": "0000:a1:00.0",
        "0000:a4:00.0": "0000:a1:00.0",
        "0001:7f:00.0": "0001:7d:00.0",
        "0001:80:00.0": "0001:7d:00.0",
    }


def test_a_switch_below_a_switch() -> None:
    """twitter-archive/torch-ipc#17: the inner one is the nearer."""
    host = server()
    bridge(host, "8086:2f08", [("0000:80:03.0", None)])
    ports: list[tuple[str, str | None]] = [
        ("0000:81:00.0", "0000:80:03.0"),
        ("0000:82:08.0", "0000:81:00.0"),
        ("0000:82:10.0", "0000:81:00.0"),
        ("0000:85:00.0", "0000:82:08.0"),
        ("0000:86:08.0", "0000:85:00.0"),
        ("0000:86:10.0", "0000:85:00.0"),
    ]
    bridge(host, "10b5:8747", ports)
    cards(
        host,
        {
            "0000:83:00.0": "0000:82:10.0",
            "0000:87:00.0": "0000:86:08.0",
            "0000:88:00.0": "0000:86:10.0",
        },
    )
    assert switches(host) == {
        "0000:83:00.0": "0000:81:00.0",
        "0000:87:00.0": "0000:85:00.0",
        "0000:88:00.0": "0000:85:00.0",
    }


def test_cards_below_two_root_ports_share_no_switch() -> None:
    """noonghunna/club-3090#1105: the chipset's is of other buses."""
    host = server()
    bridge(host, "1022:1483", [("0000:40:01.1", None), ("0000:40:03.1", None)])
    cards(
        host,
        {"0000:41:00.0": "0000:40:01.1", "0000:42:00.0": "0000:40:03.1"},
        "10de:2204",
    )
    assert switches(host) == {"0000:41:00.0": None, "0000:42:00.0": None}


def test_cards_with_four_functions_below_a_switch() -> None:
    """kata-containers/kata-containers#6779."""
    host = server()
    bridge(host, "8086:2030", [("0000:3a:00.0", None)])
    ports: list[tuple[str, str | None]] = [
        ("0000:3b:00.0", "0000:3a:00.0"),
        ("0000:3c:10.0", "0000:3b:00.0"),
        ("0000:3c:14.0", "0000:3b:00.0"),
    ]
    bridge(host, "10b5:9797", ports)
    for bus, port, group in (("3d", "3c:10.0", 48), ("3f", "3c:14.0", 49)):
        for number, (ids, code) in enumerate(
            (
                ("10de:1e04", "030200"),
                ("10de:10f7", "040300"),
                ("10de:1ad6", "0c0330"),
                ("10de:1ad7", "0c8000"),
            )
        ):
            host.function(
                f"0000:{bus}:00.{number}",
                ids,
                code,
                under=f"0000:{port}",
                group=group,
                bars=(4096,),
            )
    assert switches(host) == {
        "0000:3d:00.0": "0000:3b:00.0",
        "0000:3f:00.0": "0000:3b:00.0",
    }


def test_a_switch_on_the_card_is_not_the_one_that_cards_share() -> None:
    """ROCm/rccl#1185: a card has an upstream port of its own."""
    host = server()
    bridge(host, "8086:2030", [("0000:b0:02.0", None)])
    ports: list[tuple[str, str | None]] = [
        ("0000:b1:00.0", "0000:b0:02.0"),
        ("0000:b2:00.0", "0000:b1:00.0"),
        ("0000:b2:04.0", "0000:b1:00.0"),
        ("0000:b3:00.0", "0000:b2:00.0"),
        ("0000:b4:00.0", "0000:b3:00.0"),
        ("0000:b6:00.0", "0000:b2:04.0"),
        ("0000:b7:00.0", "0000:b6:00.0"),
    ]
    bridge(host, "1d94:23b7", ports)
    cards(
        host,
        {"0000:b5:00.0": "0000:b4:00.0", "0000:b8:00.0": "0000:b7:00.0"},
        "1d94:55b7",
    )
    assert set(switches(host).values()) == {"0000:b1:00.0"}
