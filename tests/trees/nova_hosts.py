"""Hosts with the cards that public configurations of Nova name.

Each is the plain server of ``hosts.server()`` and what stands here; the
addresses are free, and those that the configurations use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tests.trees import hosts
from tests.trees.host import Host

_MIB = 1 << 20


def _card(
    host: Host,
    address: str,
    ids: str,
    group: int,
    class_code: str = "030200",
    vfs: tuple[int, int] | None = None,
) -> str:
    """Add a root port with a card of one function; its port's address."""
    port = f"0000:00:{group:02x}.0"
    hosts.port(host, port, address[:7], group, "8086")
    host.function(
        address, ids, class_code, under=port, group=group + 40,
        bars=(16 * _MIB,), reset="flr bus", vfs=vfs,
    )  # fmt: skip
    return port


def _virtual(
    host: Host, port: str, physical: str, ids: str, addresses: Iterable[str]
) -> None:
    """Add virtual functions of a physical one, in groups 54 and up."""
    for group, address in enumerate(addresses, 54):
        host.function(
            address, ids, "030200", under=port, group=group, bars=(_MIB,),
            physical=physical, reset="flr",
        )  # fmt: skip


def gamer() -> Host:
    """Two RTX 3090, each with its audio function in one group."""
    host = hosts.server()
    for number, bus in ((4, "41"), (5, "81")):
        port = f"0000:00:{number:02x}.0"
        hosts.port(host, port, f"0000:{bus}", number, "8086")
        for function, ids, code in (
            (0, "10de:2204", "030000"),
            (1, "10de:1aef", "040300"),
        ):
            host.function(
                f"0000:{bus}:00.{function}", ids, code, under=port,
                group=number + 40, bars=(16 * _MIB,),
                vga=None if function else False, reset="bus",
            )  # fmt: skip
    return host


def compute() -> Host:
    """Two V100, which have one function and do no SR-IOV."""
    host = hosts.server()
    _card(host, "0000:41:00.0", "10de:1db4", 4)
    _card(host, "0000:84:00.0", "10de:1db4", 5)
    return host


def ampere() -> Host:
    """Two A100, which could have virtual functions."""
    host = hosts.server()
    _card(host, "0000:25:00.0", "10de:20b5", 4, vfs=(20, 0))
    _card(host, "0000:84:00.0", "10de:20b5", 5, vfs=(20, 0))
    return host


def vgpu() -> Host:
    """A part of an A16 with four virtual functions, of the same ids."""
    host = hosts.server()
    port = _card(host, "0000:25:00.0", "10de:25b6", 4, vfs=(16, 4))
    functions = (f"0000:25:00.{number}" for number in (4, 5, 6, 7))
    _virtual(host, port, "0000:25:00.0", "10de:25b6", functions)
    return host


def dpu() -> Host:
    """A BlueField with two virtual functions."""
    host = hosts.server()
    port = _card(host, "0000:82:00.0", "15b3:a2d6", 4, "020000", (16, 2))
    functions = ("0000:82:00.3", "0000:82:00.4")
    _virtual(host, port, "0000:82:00.0", "15b3:101e", functions)
    return host


def x540() -> Host:
    """An Intel NIC of two ports, the first with two virtual functions."""
    host = hosts.server()
    port = _card(host, "0000:0a:00.0", "8086:1528", 4, "020000", (63, 2))
    host.function(
        "0000:0a:00.1", "8086:1528", "020000", under=port, group=60,
        bars=(_MIB,), reset="flr bus", vfs=(63, 0),
    )  # fmt: skip
    functions = ("0000:0a:10.0", "0000:0a:10.2")
    _virtual(host, port, "0000:0a:00.0", "8086:1515", functions)
    return host


HOSTS: Mapping[str, Callable[[], Host]] = {
    "gamer": gamer,
    "compute": compute,
    "ampere": ampere,
    "vgpu": vgpu,
    "dpu": dpu,
    "x540": x540,
    "vmd": hosts.wide_domain,
}
"""Every host by the name that fragments have for it."""
