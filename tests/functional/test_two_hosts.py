"""Two hosts, one MariaDB, one etcd: a unit is booted where it is."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from tests.functional.lab import product, project
from tests.functional.lab.host import Boot, EmulatedHost
from tests.functional.lab.product import CARD, Product
from tests.functional.lab.topology import SEED
from tests.functional.servers.backends import Etcd
from tests.functional.servers.databases import MariaDB

pytest_plugins = (
    "tests.functional.lab.fixtures",
    "tests.functional.servers.fixtures",
)
pytestmark = pytest.mark.lab

# How a guest of QEMU's user network reaches the machine that runs it.
GATEWAY = "10.0.2.2"
LOST_AFTER_S = 60
# Everything is emulated.
LIMIT_S = 300
REQUEST = ("create", "--request", "gpu:1", "--host", "b")


@pytest.fixture
def machines(
    boot: Boot, project_archive: bytes, mariadb: MariaDB, etcd: Etcd
) -> tuple[EmulatedHost, EmulatedHost]:
    """Hosts ``a`` and ``b``, with the product."""
    database = sa.make_url(mariadb.new_database()).set(host=GATEWAY)
    locks = etcd.url.replace("127.0.0.1", GATEWAY)
    booted = []
    for name in "ab":
        host = boot(SEED)
        project.install(host, project_archive)
        project.install_packages(host, "pymysql", "etcd3gw")
        host.put(
            product.CONFIG,
            (
                f"[DEFAULT]\nhost = {name}\n[coordination]\n"
                f"backend_url = {locks}\n[database]\nconnection ="
                f" {database.render_as_string(hide_password=False)}\n"
                f"[agent]\nlost_after_s = {LOST_AFTER_S}\n{product.ALIASES}"
            ).encode(),
        )
        booted.append(host)
    first, second = booted
    return first, second


@contextmanager
def running(
    machines: tuple[EmulatedHost, EmulatedHost],
) -> Iterator[tuple[Product, Product]]:
    """Run the commands there; their units are published."""
    with product.running(machines[0]) as a, product.running(machines[1]) as b:
        a.cli("db", "sync")
        a.cli("inventory", "sync")
        b.cli("inventory", "sync")
        yield a, b


def owners(ours: Product) -> list[tuple[str, str, str | None]]:
    return [
        (row["Host"], row["State"], row["Consumer"])
        for row in ours.asked("inventory", "list")
    ]


def test_claimed_from_either_and_booted_where_it_is(
    machines: tuple[EmulatedHost, EmulatedHost],
) -> None:
    with running(machines) as (a, b):
        _claimed_booted_and_released(a, b)


def _claimed_booted_and_released(a: Product, b: Product) -> None:
    free = [(name, "free", None) for name in "aaabbb"]
    assert owners(a) == owners(b) == free
    identity = str(uuid.uuid4())
    argv = ("allocation", "create", "--request", "gpu:1")
    held = a.asked(*argv, "--consumer", identity, "--host", "b")
    assert (held["Host"], held["State"]) == ("b", "claimed")
    assert b.asked("allocation", "show", identity)["Host"] == "b"

    # Not on the other one, which changes nothing.
    elsewhere = a.domain("guest", identity)
    refused = a.cli(
        "instance", "boot", elsewhere, "--request", "gpu:1", check=False
    )
    assert refused.returncode == 1
    assert f"{identity} already holds gpu:1 on host b" in refused.stderr
    assert a.host.sh("virsh list --all --name").strip() == ""

    here = b.domain("guest", identity)
    row = b.asked("instance", "boot", here, "--request", "gpu:1")
    assert (row["Instance"], row["State"]) == (identity, "active")
    assert set(CARD) <= set(b.seen("guest"))
    assert ("b", "active", identity) in owners(a)

    # The hosts take from one ledger: five more, and no sixth.
    for _ in range(5):
        a.asked(*argv)
    assert a.cli(*argv, check=False).returncode == 1
    assert b.cli(*argv, check=False).returncode == 1

    refused = a.cli("instance", "release", identity, check=False)
    assert refused.returncode == 1
    assert "is on host b, where no agent runs" in refused.stderr

    product.start_agent(b.host)
    answers(a, "b")
    a.cli("instance", "release", identity)
    assert b.host.sh("virsh list --all --name").strip() == ""
    (unit,) = held["Units"]
    a.cli("unit", "quarantine", f"b/{unit}", "--reason", "fan is loud")
    assert a.asked("unit", "clear", f"b/{unit}")["State"] == "free"
    events = a.asked("event", "list", "--unit", f"b/{unit}")
    assert (events[-1]["To"], events[-1]["Host"]) == ("free", "a")
    assert events[-1]["Command"] == "unit clear"
    assert {t["State"] for t in a.asked("task", "list")} == {"done"}
    again = a.asked(*argv)
    assert again["Host"] == "b"
    assert again["Units"] == held["Units"]


@pytest.mark.rotating
def test_a_host_that_lost_its_power_is_fenced_and_comes_back(
    machines: tuple[EmulatedHost, EmulatedHost],
) -> None:
    with running(machines) as (a, b):
        for each, name in ((a, "a"), (b, "b")):
            product.start_agent(each.host)
            answers(a, name)
        identity = str(uuid.uuid4())
        path = b.domain("guest", identity)
        held = b.asked("instance", "boot", path, "--request", "gpu:1")
        b.host.sh("sync")
    machines[1].stop()
    with product.running(machines[0]) as a:
        answers(a, "b", "lost")
        assert a.asked("allocation", "show", identity)["State"] == "active"
        refused = a.cli("instance", "release", identity, check=False)
        assert "which does not answer (lost: " in refused.stderr
        (given_up,) = a.asked("inventory", "fence", "b")
        assert given_up["Unit"] == f"b/{held['Units'][0]}"
        assert ("b", "quarantined", None) in owners(a)
        machines[1].start()
        answers(a, "b")
        until = time.monotonic() + LIMIT_S
        while owners(a) != [(name, "free", None) for name in "aaabbb"]:
            assert time.monotonic() < until, owners(a)
            time.sleep(5)
        until = time.monotonic() + LIMIT_S
        while a.cli("allocation", *REQUEST, check=False).returncode:
            assert time.monotonic() < until
            time.sleep(5)
        events = a.asked("event", "list", "--host", "b", "--limit", "0")
        assert "reset and checked after the fence" in {
            event["Reason"] for event in events
        }


def answers(ours: Product, name: str, state: str = "answers") -> None:
    """Return once a host's agent is one of the group, or is lost."""
    until = time.monotonic() + LIMIT_S
    while {"Host": name, "Agent": state} not in (
        ours.asked("inventory", "hosts", "-c", "Host", "-c", "Agent")
    ):
        assert time.monotonic() < until
        time.sleep(2)
