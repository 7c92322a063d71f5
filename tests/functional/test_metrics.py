"""Metrics over real sockets, read as Prometheus reads them."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gpu_passthrough_plugin.agent.metrics import FAMILIES
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import agent, release
from gpu_passthrough_plugin.flow.agent import UnitCache
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.pass_metrics import PassMetrics
from gpu_passthrough_plugin.host import metrics_server
from gpu_passthrough_plugin.host.event_counters import EventCounters
from gpu_passthrough_plugin.host.metrics_server import (
    LIMIT_S,
    MAX_CONNECTIONS,
    MetricsServer,
)
from gpu_passthrough_plugin.model.metric import MetricsAddress
from tests.functional.servers.loopback import free_port
from tests.functional.world import (
    HOST,
    UUID,
    World,
    guest,
    refused,
    wanted,
)

PREFIX = "gpu_passthrough_"
Samples = dict[str, dict[tuple[str, ...], float]]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


def connection(address: MetricsAddress) -> http.client.HTTPConnection:
    if address.path:
        return UnixConnection(address.path)
    return http.client.HTTPConnection(address.host, address.port, timeout=10)


def get(
    address: MetricsAddress, path: str = "/metrics", method: str = "GET"
) -> tuple[int, str, str]:
    client = connection(address)
    with contextlib.closing(client):
        client.request(method, path)
        response = client.getresponse()
        kind = response.headers["Content-Type"]
        return response.status, kind, response.read().decode()


def scraped(address: MetricsAddress) -> Samples:
    status, kind, text = get(address)
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


@pytest.fixture(params=["unix", "127.0.0.1", "::1"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> MetricsAddress:
    if request.param == "unix":
        return MetricsAddress(f"{tmp_path}/run/metrics.sock")
    return MetricsAddress("", request.param, free_port())


@pytest.fixture
def server(address: MetricsAddress) -> Iterator[MetricsServer]:
    with metrics_server.serving(address) as serving:
        yield serving


def metered(world: World) -> PassMetrics:
    return PassMetrics(EventCounters(str(world.folder / "metrics")))


def one_pass(world: World, metrics: PassMetrics) -> None:
    agent.run(world.context(), UnitCache(), metrics=metrics)


def test_a_guests_life_is_scraped(
    world: World, address: MetricsAddress, server: MetricsServer
) -> None:
    metrics = metered(world)
    one_pass(world, metrics)
    boot(world.context(), guest(), wanted())
    one_pass(world, metrics)
    server.publish(metrics.families())
    kind = world.ledger.records()[0].unit.resource_class
    found = scraped(address)
    units = found[f"{PREFIX}units"]
    assert units[HOST, kind, "active"] == 1
    assert units[HOST, kind, "free"] == 2
    transitions = found[f"{PREFIX}unit_transitions_total"]
    assert transitions["free", "claimed"] == 1
    assert transitions["preparing", "active"] == 1
    release.release(world.context(), UUID)
    one_pass(world, metrics)
    # Nothing is scraped before it is published.
    assert scraped(address) == found
    server.publish(metrics.families())
    found = scraped(address)
    assert found[f"{PREFIX}units"][HOST, kind, "free"] == 3
    assert found[f"{PREFIX}resets_total"] == {("bus", "done"): 1}
    assert found[f"{PREFIX}unit_transitions_total"]["sanitising", "free"] == 1
    assert found[f"{PREFIX}passes_total"]["completed",] == 3
    age_s = time.time() - found[f"{PREFIX}last_pass_timestamp_seconds"][()]
    assert 0 <= age_s < 60
    stages = found[f"{PREFIX}pass_stage_seconds"]
    assert set(stages) == {("observe",), ("decide",)}
    _, _, text = get(address)
    assert UUID not in text and "guest" not in text


def test_each_family_is_exported_by_its_name(
    address: MetricsAddress, server: MetricsServer
) -> None:
    metrics = PassMetrics(EventCounters("/nonexistent"))
    server.publish(metrics.families())
    _, _, text = get(address)
    named = {f.name for f in text_string_to_metric_families(text)}
    assert named == {f"{PREFIX}{name}" for name in FAMILIES}


def test_links_and_errors_of_functions_on_vfio(world: World) -> None:
    folder = world.tree.real("sys/bus/pci/devices/0000:06:00.0")
    files = dict(world.tree.files)
    for name, text in {
        "current_link_speed": "8.0 GT/s PCIe",
        "current_link_width": "16",
        "aer_dev_correctable": "RxErr 4\nTOTAL_ERR_COR 4",
    }.items():
        files[f"{folder}/{name}"] = f"{text}\n".encode()
    world.tree = RecordedTree(files, world.tree.links)
    metrics = metered(world)
    one_pass(world, metrics)
    values = {
        family.sample_name: dict(family.samples)
        for family in metrics.families()
    }
    me = "0000:06:00.0"
    assert values[f"{PREFIX}link_width_lanes"][me,] == 16
    errors_of = values[f"{PREFIX}aer_errors_total"]
    assert errors_of[me, "correctable", "RxErr"] == 4


def test_a_ledger_that_cannot_be_read(world: World) -> None:
    metrics = metered(world)
    one_pass(world, metrics)
    before = metrics.snapshot
    metrics.failed()
    assert metrics.snapshot.unreadable == {"ledger"}
    assert metrics.snapshot.completed_s == before.completed_s
    assert metrics.snapshot.passes == {"completed": 1, "failed": 1}
    one_pass(world, metrics)
    assert metrics.snapshot.unreadable == frozenset()


def test_an_unchanged_ledgers_events_are_not_read(world: World) -> None:
    class Counting:
        reads = 0

        def __getattr__(self, name: str) -> object:
            if name == "events":
                Counting.reads += 1
            return getattr(ledger, name)

    ledger, metrics = world.context().ledger, metered(world)
    context = dataclasses.replace(world.context(), ledger=Counting())  # type: ignore[arg-type]
    for _ in range(3):
        agent.run(context, UnitCache(), metrics=metrics)
    assert Counting.reads == 1


def test_what_else_is_asked(
    address: MetricsAddress, server: MetricsServer
) -> None:
    assert get(address, "/else")[0] == 404
    assert get(address, method="POST")[0] == 405
    assert get(address, method="HEAD")[::2] == (200, "")
    assert get(address, "/metrics?name=x")[0] == 200
    with opened(address) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")
    with opened(address) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n" + b"x" * 10_000)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""


def opened(address: MetricsAddress) -> socket.socket:
    client = connection(address)
    client.connect()
    return client.sock


def test_clients_that_send_and_read_nothing(
    address: MetricsAddress, server: MetricsServer
) -> None:
    """They are dropped; others wait for that, and no longer."""
    idle = [opened(address) for _ in range(MAX_CONNECTIONS)]
    begun_s = time.monotonic()
    assert get(address)[0] == 200
    assert time.monotonic() - begun_s < LIMIT_S + 3
    for client in idle:
        client.settimeout(1)
        assert client.recv(1) == b""
        client.close()


def serve(address: MetricsAddress) -> None:
    with metrics_server.serving(address):
        pass


def test_a_socket_is_roots_alone_and_gone_afterwards(tmp_path: Path) -> None:
    address = MetricsAddress(f"{tmp_path}/run/metrics.sock")
    with metrics_server.serving(address):
        assert os.stat(address.path).st_mode & 0o777 == 0o600
        assert os.stat(f"{tmp_path}/run").st_mode & 0o777 == 0o700
        refused(serve, address)
    assert not os.path.exists(address.path)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    address = MetricsAddress("", "127.0.0.1", free_port())
    with metrics_server.serving(address):
        assert str(address.port) in refused(serve, address)


_WITHOUT = """
import sys
sys.modules["prometheus_client"] = None
from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import metrics_server
try:
    metrics_server.renderer()
except errors.Unavailable as error:
    print(error)
"""


def test_a_missing_package_is_named() -> None:
    done = subprocess.run(
        (sys.executable, "-c", _WITHOUT), capture_output=True, text=True
    )
    assert done.stdout.count("\n") == 1
    assert "prometheus_client" in done.stdout
    assert "gpu-passthrough-plugin[metrics]" in done.stdout
