"""Two hosts, one MariaDB, one etcd: a unit is booted where it is."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from tests.functional.lab import product, project
from tests.functional.lab.host import Boot
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


@pytest.fixture
def hosts(
    boot: Boot, project_archive: bytes, mariadb: MariaDB, etcd: Etcd
) -> Iterator[tuple[Product, Product]]:
    """Hosts ``a`` and ``b``, whose units are published."""
    database = sa.make_url(mariadb.new_database()).set(host=GATEWAY)
    locks = etcd.url.replace("127.0.0.1", GATEWAY)
    with ExitStack() as running:
        found = []
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
                    f"{product.ALIASES}"
                ).encode(),
            )
            found.append(running.enter_context(product.running(host)))
        first, second = found
        first.cli("db", "sync")
        first.cli("inventory", "sync")
        second.cli("inventory", "sync")
        yield first, second


def owners(ours: Product) -> list[tuple[str, str, str | None]]:
    return [
        (row["Host"], row["State"], row["Consumer"])
        for row in ours.asked("inventory", "list")
    ]


def test_claimed_from_either_and_booted_where_it_is(
    hosts: tuple[Product, Product],
) -> None:
    a, b = hosts
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


def answers(ours: Product, name: str) -> None:
    """Return once a host's agent is one of the group."""
    until = time.monotonic() + 180
    while {"Host": name, "Agent": "answers"} not in (
        ours.asked("inventory", "hosts", "-c", "Host", "-c", "Agent")
    ):
        assert time.monotonic() < until
        time.sleep(2)
