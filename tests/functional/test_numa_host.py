"""Two cards on each of two NUMA nodes: policies choose as they say."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.functional.lab import product
from tests.functional.lab.host import EmulatedHost
from tests.functional.lab.product import Product

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def ours(numa_host: EmulatedHost, project_archive: bytes) -> Iterator[Product]:
    with product.installed(numa_host, project_archive) as installed:
        yield installed


@pytest.fixture
def clean(ours: Product) -> Iterator[Product]:
    """The product on a host that the test leaves as it found it."""
    before = ours.snapshot()
    yield ours
    for row in ours.asked("allocation", "list"):
        ours.cli("allocation", "delete", row["Consumer"])
    assert ours.snapshot() == before


def nodes(ours: Product, request: str, *more: str) -> list[int] | None:
    """The NUMA nodes of the best candidate's units; None where none."""
    argv = ("candidate", "list", "--request", request, *more)
    if ours.cli(*argv, check=False).returncode == 1:
        return None
    of = {r["Unit"]: r["NUMA Node"] for r in ours.asked("inventory", "list")}
    return sorted(of[unit] for unit in ours.asked(*argv)[0]["Units"])


def test_required_keeps_to_one_node(clean: Product) -> None:
    assert nodes(clean, "near:2") in ([0, 0], [1, 1])
    assert nodes(clean, "near:3") is None
    assert nodes(clean, "near:2", "--numa-node", "1") == [1, 1]
    assert nodes(clean, "near:3", "--numa-node", "1") is None
    assert nodes(clean, "near:3", "--numa-node", "0", "--numa-node", "1") in (
        [0, 0, 1],
        [0, 1, 1],
    )


def test_preferred_goes_elsewhere_when_it_must(clean: Product) -> None:
    assert nodes(clean, "handy:2", "--numa-node", "1") == [1, 1]
    assert nodes(clean, "handy:3", "--numa-node", "1") == [0, 1, 1]


def test_legacy_refuses_another_node(clean: Product) -> None:
    assert nodes(clean, "gpu:2", "--numa-node", "0") == [0, 0]
    assert nodes(clean, "gpu:3", "--numa-node", "0") is None


def test_socket_takes_all_nodes_of_a_socket(clean: Product) -> None:
    """A node without processors is of no socket that anyone could name."""
    sockets = [
        set(
            clean.host.sh(
                "cat /sys/devices/system/node/node"
                f"{node}/cpu*/topology/physical_package_id 2>/dev/null || :"
            ).split()
        )
        for node in (0, 1)
    ]
    chosen = nodes(clean, "beside:3", "--numa-node", "0")
    assert (chosen is not None) == bool(sockets[0] & sockets[1])


def test_a_whole_node_is_kept_for_who_needs_it(clean: Product) -> None:
    first = clean.asked("allocation", "create", "--request", "gpu:1")
    of = {r["Unit"]: r["NUMA Node"] for r in clean.asked("inventory", "list")}
    broken = of[first["Units"][0]]
    assert nodes(clean, "gpu:1") == [broken]
    assert nodes(clean, "near:2") == [1 - broken] * 2


def test_a_guest_gets_cards_of_its_own_node(clean: Product) -> None:
    identity = str(uuid.uuid4())
    path = clean.domain("tied", identity)
    xml = clean.host.get(path).decode()
    tied = "<numatune><memory mode='strict' nodeset='1'/></numatune>"
    text = xml.replace("<os>", f"{tied}<os>")
    clean.host.put(path, text.encode())
    row = clean.asked("instance", "boot", path, "--request", "near:2")
    of = {r["Unit"]: r["NUMA Node"] for r in clean.asked("inventory", "list")}
    assert [of[unit] for unit in row["Units"]] == [1, 1]
    clean.cli("instance", "release", identity)
