"""The program that looks for inventories that two consumers have."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from tests.functional.placement.server import PlacementServer
from tests.functional.servers.databases import MariaDB
from tests.functional.test_placement_reservations import (
    reserve_in_parallel,
)
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.placement.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
_PROGRAM = Path(__file__).parents[2] / "tools" / "placement_doubles.py"
_ONE_ATTEMPT = "[placement]\nallocation_conflict_retry_count = 1\n"


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it as an operator does who has nothing but Python."""
    return subprocess.run(
        (sys.executable, "-I", "-S", _PROGRAM, *arguments),
        capture_output=True,
        text=True,
        check=False,
    )


def provoke(mariadb: MariaDB, options: str) -> tuple[int, str]:
    database = mariadb.new_database()
    with PlacementServer(database, threads=8, options=options) as server:
        done = run("provoke", server.url, "--seconds", "6")
        # It removes what it made.
        assert run("find", server.url).returncode == 0
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_one_attempt_gives_no_inventory_twice(mariadb: MariaDB) -> None:
    status, text = provoke(mariadb, _ONE_ATTEMPT)
    assert (status, text.split()[4:6]) == (0, ["0", "of"])


def test_several_attempts_may(mariadb: MariaDB) -> None:
    """How often is a matter of luck; that it says so is not."""
    status, text = provoke(mariadb, "")
    claims, _, _, _, doubles, *_ = text.split()
    assert int(claims) > 0
    assert status == int(int(doubles) > 0)


def test_it_finds_doubles(
    placement_ledger: PlacementLedger, placement_url: str
) -> None:
    ledger = placement_ledger
    ledger.publish("h", [unit(1)])
    assert run("find", placement_url).returncode == 0
    ledger.claim(request("gpu:1"), A)
    reserve_in_parallel(ledger, B, "gpu:1")
    done = run("find", placement_url)
    assert done.returncode == 1
    assert "2 of 1 CUSTOM_PCI_10DE_1430" in done.stdout
    assert f"by {A}, {B}" in done.stdout


def test_a_placement_that_does_not_answer() -> None:
    done = run("find", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (2, "")
    assert "placement_doubles: " in done.stderr


@pytest.fixture
def web_server() -> Iterator[str]:
    """A server that answers each GET with a page, as Horizon does."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_is_no_placement(web_server: str) -> None:
    for command in ("find", "provoke"):
        done = run(command, web_server)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("placement_doubles: ")
        assert "Traceback" not in done.stderr
