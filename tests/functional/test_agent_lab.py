"""The agent as systemd runs it, in an emulated host: nobody else is needed."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from tests.functional.lab import product
from tests.functional.lab.host import Boot
from tests.functional.lab.product import Product
from tests.functional.lab.topology import SEED

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab

AGENT = "gpu-passthrough-agent"
SERVICE = Path(__file__).parents[2] / f"etc/systemd/{AGENT}.service"
# A pass takes seconds where everything is emulated.
_LIMIT_S = 180.0


def booted(ours: Product, name: str) -> str:
    """The UUID of a guest with a card, which the ledger has as active."""
    identity = str(uuid.uuid4())
    path = ours.domain(name, identity)
    row = ours.asked("instance", "boot", path, "--request", "gpu:1")
    assert row["State"] == "active"
    return identity


def freed(ours: Product) -> None:
    """Return once no unit is anybody's, though nobody released one."""
    until = time.monotonic() + _LIMIT_S
    while True:
        states = {row["State"] for row in ours.asked("unit", "list")}
        if states == {"free"}:
            return
        said = ours.host.sh(f"journalctl -u {AGENT} -o cat || :")
        assert time.monotonic() < until, f"{states}\n{said}"
        time.sleep(2)


def story(ours: Product, consumer: str) -> list[str]:
    """The states that an instance's unit took, the oldest first."""
    events = ours.asked("event", "list", "--consumer", consumer)
    return [event["To"] for event in events]


LIFE = ["claimed", "preparing", "active", "releasing", "sanitising", "free"]


def test_what_guests_leave_is_released(
    boot: Boot, project_archive: bytes
) -> None:
    """After one was killed, and after the host lost its power."""
    host = boot(SEED)
    with product.installed(host, project_archive) as ours:
        host.put(f"/etc/systemd/system/{AGENT}.service", SERVICE.read_bytes())
        host.sh(f"systemctl daemon-reload && systemctl enable --now {AGENT}")
        before = ours.snapshot()
        killed = booted(ours, "killed")
        host.sh("virsh destroy killed")
        freed(ours)
        assert ours.snapshot() == before
        assert story(ours, killed) == LIFE
        rows = ours.asked("host", "check")
        (row,) = (row for row in rows if row["Check"] == "agent")
        assert row["Status"] == "pass"
        cut = booted(ours, "cut")
        host.sh("sync")
    host.stop()
    host.start()
    with product.running(host) as ours:
        freed(ours)
        assert story(ours, cut) == LIFE
        assert host.sh(f"systemctl is-active {AGENT}").strip() == "active"
        host.sh(f"systemctl stop {AGENT}")
        assert ours.asked("agent", "reconcile") == []
