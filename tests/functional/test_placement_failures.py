"""A Placement that does not answer, refuses, or is of another release."""

from __future__ import annotations

import contextlib
import http.server
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import names, service
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.model.allocation import Weight
from gpu_passthrough_plugin.model.unit import State
from tests.functional.placement.server import PlacementServer, settings_of
from tests.functional.servers import loopback
from tests.golden import assert_golden, sections
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.placement.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
SECRET = "s3cret-t0ken"  # noqa: S105 - of no server
Answer = Callable[[str, str], tuple[int, Any]]


def ledger_at(url: str, **placement: object) -> PlacementLedger:
    return PlacementLedger(
        settings_of(url, Weight.PACK, holder_amount=SECRET, **placement)
    )


@contextlib.contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """Start a server that answers as it is told; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.command, self.path)
            data = body if isinstance(body, bytes) else json.dumps(body)
            sent = data if isinstance(data, bytes) else data.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with loopback.http_server(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def versions(newest: str) -> dict[str, object]:
    version = {
        "id": "v1.0",
        "status": "CURRENT",
        "min_version": "1.0",
        "max_version": newest,
        "links": [{"rel": "self", "href": ""}],
    }
    return {"versions": [version]}


def refused(ledger: PlacementLedger) -> str:
    """Return the error of the first request of a ledger."""
    try:
        with pytest.raises(errors.Unavailable) as caught:
            ledger.records()
        message = str(caught.value)
        assert SECRET not in message
        assert "\n" not in message
        return message
    finally:
        ledger.close()


def test_no_server() -> None:
    with loopback.unserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        begun = time.monotonic()
        message = refused(ledger_at(url))
    assert f"at {url}" in message
    assert "tried 4 times" in message
    assert time.monotonic() - begun < 10


def test_no_answer_in_time() -> None:
    def late(method: str, path: str) -> tuple[int, Any]:
        time.sleep(1)
        return 200, versions("1.39")

    with answering(late) as url:
        message = refused(ledger_at(url, timeout=0.1, connect_retries=1))
    assert "ConnectTimeout" in message
    assert "tried 2 times" in message


@pytest.mark.parametrize("status", [401, 403])
def test_no_access(status: int) -> None:
    def answer(method: str, path: str) -> tuple[int, Any]:
        if path == "/":
            return 200, versions("1.39")
        return status, {"errors": [{"detail": "No."}]}

    with answering(answer) as url:
        message = refused(ledger_at(url))
    assert f"status {status}: No." in message
    assert "[placement] auth_type" in message


def test_keystone_refuses_a_password() -> None:
    def keystone(method: str, path: str) -> tuple[int, Any]:
        if path == "/v3":
            links = [{"rel": "self", "href": f"{url}/v3"}]
            version = {"id": "v3.14", "status": "stable", "links": links}
            return 200, {"version": version}
        return 401, {"error": {"message": "wrong", "code": 401}}

    with answering(keystone) as url:
        ledger = ledger_at(
            url,
            auth_type="password",
            auth_url=f"{url}/v3",
            username="placement",
            password=SECRET,
            project_name="service",
            user_domain_name="Default",
            project_domain_name="Default",
        )
        message = refused(ledger)
    assert "Keystone" in message
    assert "Unauthorized" in message


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error": "nothing here"}),
        (200, b"<html>It works!</html>"),
        (200, {"versions": [{"id": "v2.1", "status": "CURRENT"}]}),
    ],
)
def test_another_server(status: int, body: object) -> None:
    with answering(lambda method, path: (status, body)) as url:
        message = refused(ledger_at(url))
    assert "[placement] endpoint_override" in message


def test_a_placement_that_is_too_old() -> None:
    with answering(lambda method, path: (200, versions("1.35"))) as url:
        message = refused(ledger_at(url))
    assert "1.0 to 1.35" in message
    assert "1.36" in message


def test_an_older_placement_has_no_consumer_types() -> None:
    with answering(lambda method, path: (200, versions("1.36"))) as url:
        ledger = ledger_at(url)
        assert ledger.service.microversion == "1.36"
        assert not ledger.service.has_consumer_types
        ledger.close()


def test_before_the_first_sync() -> None:
    def empty(method: str, path: str) -> tuple[int, Any]:
        return 200, versions("1.39") if path == "/" else {"traits": []}

    with answering(empty) as url:
        assert "gpu-passthrough db sync" in refused(ledger_at(url))
        ledger = ledger_at(url)
        assert ledger.version() == ""
        ledger.close()


def test_a_busy_server() -> None:
    paths: list[str] = []

    def busy(method: str, path: str) -> tuple[int, Any]:
        if path == "/":
            return 200, versions("1.39")
        paths.append(path)
        if len(paths) < 3:
            return 503, {"errors": [{"detail": "wait"}]}
        if path.startswith("/traits"):
            layout = f"{names.LAYOUT_PREFIX}{names.LAYOUT}"
            return 200, {"traits": [layout]}
        return 200, {"resource_providers": []}

    with answering(busy) as url:
        ledger = ledger_at(url)
        assert ledger.records() == ()
        ledger.close()
    assert len(paths) == 4


def interfere(
    ledger: PlacementLedger,
    method: str,
    part: str,
    *,
    before: Callable[[], object] = lambda: None,
    is_lost: bool = False,
) -> list[str]:
    """Interfere with the next such request; its path, once it was sent.

    :param before: what another client does right before it.
    :param is_lost: whether its answer is lost.
    """
    adapter = ledger.service._adapter
    send = adapter.request
    seen: list[str] = []

    def request_once(path: str, used: str, **options: Any) -> Any:
        if seen or used != method or part not in path:
            return send(path, used, **options)
        seen.append(path)
        before()
        answer = send(path, used, **options)
        if is_lost:
            answer.status_code = 504
        return answer

    adapter.request = request_once  # type: ignore[assignment,method-assign]
    return seen


@pytest.mark.parametrize("is_given_back", [True, False])
def test_a_given_unit_that_another_consumer_claims_meanwhile(
    placement_ledger: PlacementLedger,
    placement_server: PlacementServer,
    is_given_back: bool,
) -> None:
    """It is read again: free, or held by the other consumer."""
    placement_ledger.publish("h", [unit(1), unit(2)])
    key = placement_ledger.records()[0].unit.key
    other = placement_server.ledger()

    def take() -> None:
        held = other.claim_units([key], B, "hook")
        if is_given_back:
            other.move(held.units[0], State.FREE)

    seen = interfere(placement_ledger, "PUT", f"/allocations/{A}", before=take)
    if is_given_back:
        held = placement_ledger.claim_units([key], A, "hook")
        assert [r.unit.key for r in held.units] == [key]
    else:
        with pytest.raises(errors.Conflict, match=r"01:00\.0 is not free"):
            placement_ledger.claim_units([key], A, "hook")
    assert seen
    (allocation,) = placement_ledger.allocations()
    assert allocation.consumer == (A if is_given_back else B)
    other.close()


def test_a_claim_whose_answer_is_lost(
    placement_ledger: PlacementLedger,
) -> None:
    placement_ledger.publish("h", [unit(1), unit(2)])
    lost = interfere(placement_ledger, "PUT", "/allocations/", is_lost=True)
    held = placement_ledger.claim(request("gpu:1"), A)
    assert lost
    assert placement_ledger.allocations() == (held,)
    assert len(held.units) == 1


@pytest.mark.parametrize("part", ["/inventories", "/allocations/"])
def test_a_move_whose_answer_is_lost(
    placement_ledger: PlacementLedger, part: str
) -> None:
    placement_ledger.publish("h", [unit(1)])
    (record,) = placement_ledger.claim(request("gpu:1"), A).units
    lost = interfere(placement_ledger, "PUT", part, is_lost=True)
    freed = placement_ledger.move(record, State.FREE)
    assert lost
    assert freed == placement_ledger.unit(record.unit.key)
    assert placement_ledger.allocations() == ()


def test_a_lost_answer_does_not_make_anothers_move_ones_own(
    placement_ledger: PlacementLedger, placement_server: PlacementServer
) -> None:
    """Both do the same with the unit; only one of them did it."""
    placement_ledger.publish("h", [unit(1)])
    (record,) = placement_ledger.claim(request("gpu:1"), A).units
    other = placement_server.ledger()
    lost = interfere(
        placement_ledger,
        "PUT",
        "/inventories",
        before=lambda: other.move(record, State.PREPARING),
        is_lost=True,
    )
    with pytest.raises(errors.Conflict):
        placement_ledger.move(record, State.PREPARING)
    assert lost
    assert placement_ledger.unit(record.unit.key).state is State.PREPARING
    other.close()


@pytest.mark.parametrize(
    ("method", "part"),
    [
        ("POST", "/resource_providers"),
        ("PUT", "/traits"),
        ("PUT", "/inventories"),
        ("DELETE", "/resource_providers"),
        ("PUT", "/aggregates"),
    ],
)
def test_publishing_when_an_answer_is_lost(
    placement_ledger: PlacementLedger, method: str, part: str
) -> None:
    placement_ledger.publish("h", [unit(1), unit(2)])
    lost = interfere(placement_ledger, method, part, is_lost=True)
    shown = [unit(1, node=1), unit(3)]
    placement_ledger.publish("h", shown, aggregates=frozenset({"rack"}))
    assert lost
    assert [r.unit for r in placement_ledger.records()] == shown
    assert placement_ledger.hosts()[0].aggregates == {"rack"}
    held = placement_ledger.claim(request("gpu:2"), A)
    assert [r.unit for r in held.units] == shown


def test_a_server_that_is_killed_and_started_again() -> None:
    with PlacementServer() as server:
        ledger = server.ledger()
        ledger.publish("h", [unit(1)])
        held = ledger.claim(request("gpu:1"), A)
        server.kill()
        with pytest.raises(errors.Unavailable, match="does not answer"):
            ledger.records()
        server.start()
        assert ledger.claim(request("gpu:1"), A) == held
        ledger.close()


def test_golden_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of a server that cannot be used."""
    monkeypatch.setattr(service, "_INTERVAL_S", 0.0001)

    def answers(status: int, body: object) -> Answer:
        def answer(method: str, path: str) -> tuple[int, Any]:
            return (200, versions("1.39")) if path == "/" else (status, body)

        return answer

    no = {"errors": [{"detail": "No."}]}
    servers: dict[str, Answer] = {
        "not a Placement": lambda method, path: (200, {"versions": []}),
        "too old": lambda method, path: (200, versions("1.35")),
        "no access": answers(403, no),
        "unexpected answer": answers(404, no),
        "busy": answers(503, no),
        "before the first sync": answers(200, {"traits": []}),
        "newer layout": answers(
            200, {"traits": [f"{names.LAYOUT_PREFIX}{names.LAYOUT + 1}"]}
        ),
    }
    messages = {}
    for name, answer in servers.items():
        with answering(answer) as url:
            messages[name] = refused(ledger_at(url)).replace(url, "URL")
    path = Path(__file__).with_name("placement_unavailable.txt")
    assert_golden(path, sections(messages))
