"""The agent as systemd runs it, in an emulated host: nobody else is needed."""

from __future__ import annotations

import time
import uuid

import pytest

from tests.functional.lab import guest, product
from tests.functional.lab.host import Boot
from tests.functional.lab.product import AGENT, CARD, Product
from tests.functional.lab.topology import SEED

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab

_JOURNAL = " + ".join(
    (
        f"_SYSTEMD_UNIT={AGENT}.service",
        "_SYSTEMD_UNIT=libvirtd.service",
        "SYSLOG_IDENTIFIER=gpu-passthrough",
    )
)
# A pass takes seconds where everything is emulated.
_LIMIT_S = 180.0


def booted(ours: Product, name: str, *options: str) -> str:
    """The UUID of a guest with a card, which the ledger has as active."""
    identity = str(uuid.uuid4())
    path = ours.domain(name, identity)
    boot = ("instance", "boot", path, "--request", "gpu:1", *options)
    assert ours.asked(*boot)["State"] == "active"
    return identity


def started_by_nova(ours: Product, name: str, card: str) -> str:
    """The UUID of a guest that nova-compute's libvirt driver starts so."""
    identity = str(uuid.uuid4())
    functions = (card, f"{card[:-1]}1")
    xml = guest.domain_xml(
        name, identity, product.serial(name), functions=functions
    )
    path = f"/run/{name}.xml"
    ours.host.put(path, xml.encode())
    ours.host.sh(f"virsh define {path} && virsh start {name}")
    return identity


def states(ours: Product) -> list[str]:
    return sorted(row["State"] for row in ours.asked("unit", "list"))


def settled(ours: Product, wanted: list[str]) -> None:
    """Return once units are in these states, though nobody released one."""
    until = time.monotonic() + _LIMIT_S
    while states(ours) != wanted:
        said = ours.host.sh(f"journalctl -b -o cat {_JOURNAL} || :")
        assert time.monotonic() < until, f"{states(ours)}\n{said}"
        time.sleep(2)


def story(ours: Product, consumer: str) -> list[str]:
    """The states that an instance's unit took, the oldest first."""
    events = ours.asked("event", "list", "--consumer", consumer)
    return [event["To"] for event in events]


LIFE = ["claimed", "preparing", "active", "releasing", "sanitising", "free"]
# libvirt binds the functions itself, after the hook has claimed them.
LIFE_OF_HOOK = ["claimed", "active", "releasing", "sanitising", "free"]
FREE = ["free"] * 3


def test_what_guests_leave_is_released(
    boot: Boot, project_archive: bytes
) -> None:
    """After one was killed, and after the host of three lost its power."""
    host = boot(SEED)
    with product.installed(host, project_archive) as ours:
        # Python takes seconds to start there.
        more = f"{product.ALIASES}[hook]\nwait_s = 300\n"
        host.put(product.CONFIG, more.encode())
        ours.cli("hook", "install")
        host.sh("systemctl restart libvirtd && virsh list --all")
        product.start_agent(host)
        before = ours.snapshot()
        _bound_by_hand(ours)
        assert ours.snapshot() == before
        killed = booted(ours, "killed")
        host.sh("virsh destroy killed")
        settled(ours, FREE)
        assert ours.snapshot() == before
        assert story(ours, killed) == LIFE
        rows = ours.asked("host", "check")
        (row,) = (row for row in rows if row["Check"] == "agent")
        assert row["Status"] == "pass"
        stays = booted(ours, "stays", "--autostart")
        cut = booted(ours, "cut")
        rows = ours.asked("unit", "list")
        (last,) = (row["Unit"] for row in rows if row["State"] == "free")
        novas = started_by_nova(ours, "novas", last.rpartition("/")[2])
        assert states(ours) == ["active"] * 3
        host.sh("sync")
    host.stop()
    host.start()
    with product.running(host) as ours:
        settled(ours, ["active", *FREE[1:]])
        assert ours.asked("allocation", "show", stays)["State"] == "active"
        assert set(CARD) <= set(ours.seen("stays"))
        assert host.sh("virsh list --name").split() == ["stays"]
        assert story(ours, cut) == LIFE
        assert story(ours, novas) == LIFE_OF_HOOK
        assert host.sh(f"systemctl is-active {AGENT}").strip() == "active"
        host.sh(f"systemctl stop {AGENT}")
        assert ours.asked("agent", "reconcile") == []
        ours.cli("instance", "release", stays)
        assert states(ours) == FREE
        assert host.sh("virsh list --all --name").split() == ["novas"]
        _notices_devices(ours)


def _bound_by_hand(ours: Product) -> None:
    """And reset, and given back to the host's drivers."""
    card = ours.asked("unit", "list")[0]["Unit"].rpartition("/")[2]
    assert ours.cli("device", "reset", card, check=False).returncode == 1
    moved = ours.asked("device", "bind", card)
    assert {row["Is On"] for row in moved} == {"vfio-pci"}
    assert len(moved) == len(CARD)
    ours.cli("device", "reset", card)
    back = ours.asked("device", "unbind", card)
    assert [(row["Address"], row["Is On"]) for row in back] == [
        (row["Address"], row["Was On"]) for row in moved
    ]


def _notices_devices(ours: Product) -> None:
    """No guest starts or ends, and the interval is an hour."""
    host = ours.host
    host.sh(
        f"printf '[agent]\\ninterval_s = 3600\\n' >>{product.CONFIG}"
        f" && systemctl start {AGENT}"
    )
    # The first passes, and the one that libvirt's answer begins.
    time.sleep(30)
    card = ours.asked("unit", "list")[0]["Unit"].rpartition("/")[2][:-1]
    host.sh(
        f"for one in /sys/bus/pci/devices/{card}*; do echo 1 >$one/remove;"
        " done"
    )
    settled(ours, FREE[1:])
    host.sh("echo 1 >/sys/bus/pci/rescan")
    settled(ours, FREE)
