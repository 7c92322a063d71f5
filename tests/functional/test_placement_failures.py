"""A Placement that is not there, not let in to, too old, or none."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.placement import names
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.model.allocation import Weight
from gpu_passthrough_plugin.model.unit import State
from tests.functional.placement.server import PlacementServer, settings_of
from tests.functional.servers.process import free_port
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
    """The URL of a server that gives whatever answers it is told to."""

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

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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
    """What it says when it is asked anything."""
    try:
        with pytest.raises(errors.Unavailable) as caught:
            ledger.records()
        said = str(caught.value)
        assert SECRET not in said
        assert "\n" not in said
        return said
    finally:
        ledger.close()


def test_nobody_answers() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    begun = time.monotonic()
    said = refused(ledger_at(url))
    assert said.startswith(f"Placement at {url} does not answer")
    assert said.endswith("(tried 4 times)")
    assert time.monotonic() - begun < 10


def test_nobody_answers_in_time() -> None:
    def late(method: str, path: str) -> tuple[int, Any]:
        time.sleep(1)
        return 200, versions("1.39")

    with answering(late) as url:
        said = refused(ledger_at(url, timeout=0.1, connect_retries=1))
    assert "does not answer (ConnectTimeout" in said
    assert said.endswith("(tried 2 times)")


@pytest.mark.parametrize("status", [401, 403])
def test_it_does_not_let_us_in(status: int) -> None:
    def answer(method: str, path: str) -> tuple[int, Any]:
        if path == "/":
            return 200, versions("1.39")
        return status, {"errors": [{"detail": "No."}]}

    with answering(answer) as url:
        said = refused(ledger_at(url))
    assert f"does not let this in (status {status}: No.)" in said
    assert "role admin or service" in said


def test_a_wrong_password_is_keystones_to_refuse() -> None:
    def keystone(method: str, path: str) -> tuple[int, Any]:
        if path == "/v3":
            links = [{"rel": "self", "href": f"{url}/v3"}]
            version = {"id": "v3.14", "status": "stable", "links": links}
            return 200, {"version": version}
        return 401, {"error": {"message": "wrong", "code": 401}}

    with answering(keystone) as url:
        found = ledger_at(
            url,
            auth_type="password",
            auth_url=f"{url}/v3",
            username="placement",
            password=SECRET,
            project_name="service",
            user_domain_name="Default",
            project_domain_name="Default",
        )
        said = refused(found)
    assert said.startswith("Keystone refuses the credentials")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error": "nothing here"}),
        (200, b"<html>It works!</html>"),
        (200, {"versions": [{"id": "v2.1", "status": "CURRENT"}]}),
    ],
)
def test_it_is_no_placement(status: int, body: object) -> None:
    with answering(lambda method, path: (status, body)) as url:
        said = refused(ledger_at(url))
    assert "no Placement" in said
    assert "check [placement] endpoint_override" in said


def test_it_is_too_old() -> None:
    with answering(lambda method, path: (200, versions("1.35"))) as url:
        said = refused(ledger_at(url))
    assert "has microversions 1.0 to 1.35, wanted 1.36" in said


def test_an_older_one_has_no_types_of_consumers() -> None:
    with answering(lambda method, path: (200, versions("1.36"))) as url:
        found = ledger_at(url)
        assert found.service.microversion == "1.36"
        assert not found.service.has_consumer_types
        found.close()


def test_it_has_no_schema_yet() -> None:
    def empty(method: str, path: str) -> tuple[int, Any]:
        return 200, versions("1.39") if path == "/" else {"traits": []}

    with answering(empty) as url:
        assert "run 'gpu-passthrough db sync'" in refused(ledger_at(url))
        found = ledger_at(url)
        assert found.version() == ""
        found.close()


def test_it_cannot_just_now_and_then_can() -> None:
    asked: list[str] = []

    def busy(method: str, path: str) -> tuple[int, Any]:
        if path == "/":
            return 200, versions("1.39")
        asked.append(path)
        if len(asked) < 3:
            return 503, {"errors": [{"detail": "wait"}]}
        if path.startswith("/traits"):
            known = f"{names.LAYOUT_PREFIX}{names.LAYOUT}"
            return 200, {"traits": [known]}
        return 200, {"resource_providers": []}

    with answering(busy) as url:
        found = ledger_at(url)
        assert found.records() == ()
        found.close()
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("placement", "wanted"),
    [
        ({}, "auth_type is not set"),
        ({"auth_type": "zzz"}, "'zzz' is none of keystoneauth's"),
        ({"auth_type": "password", "password": SECRET}, "wants auth_url"),
    ],
)
def test_settings_that_are_wrong(
    placement: dict[str, object], wanted: str
) -> None:
    with pytest.raises(errors.Invalid) as caught:
        PlacementLedger(LedgerSettings("", placement=placement))
    assert wanted in str(caught.value)
    assert SECRET not in str(caught.value)


def once(
    ledger: PlacementLedger,
    method: str,
    part: str,
    *,
    before: Callable[[], object] = lambda: None,
    is_lost: bool = False,
) -> list[str]:
    """Interfere with the next such request; where it went, once it has.

    :param before: what others do right before it.
    :param is_lost: whether its answer is.
    """
    adapter = ledger.service._adapter
    ask = adapter.request
    seen: list[str] = []

    def request_once(path: str, used: str, **options: Any) -> Any:
        if seen or used != method or part not in path:
            return ask(path, used, **options)
        seen.append(path)
        before()
        answer = ask(path, used, **options)
        if is_lost:
            answer.status_code = 504
        return answer

    adapter.request = request_once  # type: ignore[assignment,method-assign]
    return seen


@pytest.mark.parametrize("is_given_back", [True, False])
def test_a_unit_that_another_guest_has_taken_meanwhile(
    placement_ledger: PlacementLedger,
    placement_server: PlacementServer,
    is_given_back: bool,
) -> None:
    """It is looked at again: free, or whose it is."""
    placement_ledger.publish("h", [unit(1), unit(2)])
    key = placement_ledger.records()[0].unit.key
    other = placement_server.ledger()

    def take() -> None:
        held = other.take([key], B, "hook")
        if is_given_back:
            other.move(held.units[0], State.FREE)

    seen = once(placement_ledger, "PUT", f"/allocations/{A}", before=take)
    if is_given_back:
        held = placement_ledger.take([key], A, "hook")
        assert [r.unit.key for r in held.units] == [key]
    else:
        with pytest.raises(errors.Conflict, match=r"01:00\.0 is not free"):
            placement_ledger.take([key], A, "hook")
    assert seen
    (allocation,) = placement_ledger.allocations()
    assert allocation.consumer == (A if is_given_back else B)
    other.close()


def test_a_claim_whose_answer_was_lost_is_what_is_held(
    placement_ledger: PlacementLedger,
) -> None:
    placement_ledger.publish("h", [unit(1), unit(2)])
    lost = once(placement_ledger, "PUT", "/allocations/", is_lost=True)
    held = placement_ledger.claim(request("gpu:1"), A)
    assert lost
    assert placement_ledger.allocations() == (held,)
    assert len(held.units) == 1


@pytest.mark.parametrize("part", ["/inventories", "/allocations/"])
def test_a_move_whose_answer_was_lost_is_done(
    placement_ledger: PlacementLedger, part: str
) -> None:
    placement_ledger.publish("h", [unit(1)])
    (record,) = placement_ledger.claim(request("gpu:1"), A).units
    lost = once(placement_ledger, "PUT", part, is_lost=True)
    freed = placement_ledger.move(record, State.FREE)
    assert lost
    assert freed == placement_ledger.unit(record.unit.key)
    assert placement_ledger.allocations() == ()


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
def test_an_inventory_whose_answer_was_lost_is_published(
    placement_ledger: PlacementLedger, method: str, part: str
) -> None:
    placement_ledger.publish("h", [unit(1), unit(2)])
    lost = once(placement_ledger, method, part, is_lost=True)
    shown = [unit(1, node=1), unit(3)]
    placement_ledger.publish("h", shown, aggregates=frozenset({"rack"}))
    assert lost
    assert [r.unit for r in placement_ledger.records()] == shown
    assert placement_ledger.hosts()[0].aggregates == {"rack"}
    held = placement_ledger.claim(request("gpu:2"), A)
    assert [r.unit for r in held.units] == shown


def test_it_is_killed_and_comes_back() -> None:
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
