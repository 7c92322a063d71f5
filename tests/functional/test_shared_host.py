"""Two cards in one group with a bridge, and one card alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.functional.lab import product
from tests.functional.lab.host import EmulatedHost
from tests.functional.lab.product import CARD, Product
from tests.functional.test_lab import displays, driver, peers

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def ours(
    shared_host: EmulatedHost, project_archive: bytes
) -> Iterator[Product]:
    with product.installed(shared_host, project_archive) as installed:
        yield installed


@pytest.fixture
def clean(ours: Product) -> Iterator[Product]:
    """The product on a host that the test leaves as it found it."""
    before = ours.snapshot()
    yield ours
    assert ours.snapshot() == before


def units(ours: Product, request: str) -> list[str]:
    """The best candidate's units."""
    found = ours.asked("candidate", "list", "--request", request)
    best: list[str] = found[0]["Units"]
    return best


def test_two_cards_are_one_unit(ours: Product) -> None:
    first, second, alone = displays(ours.host)
    rows = {
        tuple(row["Primary"]): row
        for row in ours.asked("group", "list", "--assignable")
    }
    assert set(rows) == {(first, second), (alone,)}
    # The kernel's group holds the bridge; nobody is handed it.
    together = set(rows[first, second]["Functions"])
    assert together == peers(ours.host, first)
    assert len(together) == 5
    shown = ours.asked("group", "show", str(rows[first, second]["Group"]))
    assert "as one unit" in shown["Notes"][0]
    assert sum(" bridge " in f for f in shown["Members"]) == 1


def test_one_card_is_not_taken_from_the_pair(clean: Product) -> None:
    first, _, alone = displays(clean.host)
    assert units(clean, "gpu:1") == [alone]
    assert units(clean, "gpu:2") == [first]
    assert units(clean, "gpu:3") == sorted([first, alone])
    held = clean.asked("allocation", "create", "--request", "gpu:1")
    assert held["Units"] == [alone]
    # Nothing smaller is left: the pair goes, whole.
    assert units(clean, "gpu:1") == [first]
    clean.cli("allocation", "delete", held["Consumer"])


def test_the_pair_goes_to_one_guest(clean: Product) -> None:
    host = clean.host
    first, second, _ = displays(host)
    endpoints = [card[:-1] + n for card in (first, second) for n in "01"]
    bridge = (peers(host, first) - set(endpoints)).pop()
    before = driver(host, bridge)
    identity = str(uuid.uuid4())
    path = clean.domain("pair", identity)
    row = clean.asked("instance", "boot", path, "--request", "gpu:2")
    assert row["Units"] == [first]
    seen = clean.seen("pair")
    assert [seen.count(function) for function in CARD] == [2, 2]
    assert {driver(host, each) for each in endpoints} == {"vfio-pci"}
    assert driver(host, bridge) == before
    clean.cli("instance", "release", identity)


def test_what_is_no_gpu_is_handed_out_when_selected(clean: Product) -> None:
    host = clean.host
    edu = host.sh("lspci -Dn -d 1234:11e8").split()[0]
    config = "/run/select.conf"
    host.put(
        config,
        b"[discovery]\nselect = class=03*, 1234:11e8\n"
        b'[pci]\nalias = {"name": "edu", "vendor_id": "1234"}\n',
    )
    rows = clean.asked(
        "--config-file", config, "group", "list", "--assignable"
    )
    assert [edu] in [row["Primary"] for row in rows]
    host.put(config, f"[discovery]\nexclude = {edu}\n".encode())
    shown = clean.asked("--config-file", config, "group", "list")
    reasons = next(r["Reasons"] for r in shown if edu in r["Functions"])
    assert any("exclude" in reason for reason in reasons)
