#!/usr/bin/env python3
"""Look for inventories that Placement gave to more consumers than they have.

    placement_doubles.py find URL           reads only: what is doubled now
    placement_doubles.py provoke URL        provokes it, on a Placement to test

URL is Placement's endpoint, such as http://controller:8778.  The token is
read from OS_TOKEN ("openstack token issue -f value -c id"); without it,
"admin" is sent, which auth_strategy = noauth2 accepts.

"find" compares what is used of each inventory with its capacity.  "provoke"
creates six resource providers with an inventory of one, lets eight clients
claim one or three of them at a time and give them back, and checks after each
claim that Placement accepted (204) that no other consumer has an allocation
of the same providers.  It removes its providers at the end.

A double that "find" prints only once may be two claims that were just made:
run it again before you act on it.

Exit status: 0 nothing is doubled, 1 something is, 2 not known, because no
Placement answered, or it refused a request.

Why it happens (Placement 16.0.0): placement/objects/allocation.py,
replace_all, calls _set_allocations again after a conflict of a provider's
generation, within the transaction of the first attempt.  The new attempt
reads the provider's generation in an independent transaction, and so passes
the check of the generation; but it reads usages in the old transaction.  At
REPEATABLE READ, the default of MariaDB and MySQL, these are the usages from
before the other client's claim, and the capacity check passes too.  With

    [placement]
    allocation_conflict_retry_count = 1

Placement answers 409 placement.concurrent_update instead of trying again.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

_CLASS = "CUSTOM_PLACEMENT_DOUBLES"
_PROVIDERS = 6
_CLIENTS = 8
_TIMEOUT_S = 60


class Placement:
    """Requests to Placement's API, at microversion 1.36."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {
            "X-Auth-Token": os.environ.get("OS_TOKEN", "admin"),
            "OpenStack-API-Version": "placement 1.36",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }

    def request(
        self, method: str, path: str, body: object = None
    ) -> tuple[int, Any]:
        """Send a request; return the status and the body of the answer.

        :raises OSError: when no answer came, or none of Placement's.
        """
        try:
            return self._answer(method, path, body)
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(
                f"{method} {path}: not an answer of Placement ({error}); check"
                " the URL"
            ) from error

    def _answer(self, method: str, path: str, body: object) -> tuple[int, Any]:
        request = urllib.request.Request(  # noqa: S310 - an operator's URL
            self._url + path,
            None if body is None else json.dumps(body).encode(),
            self._headers,
            method=method,
        )
        try:
            with urllib.request.urlopen(  # noqa: S310 - as above
                request, timeout=_TIMEOUT_S
            ) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else {}
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def get(self, path: str) -> Any:
        """Return the body of what is at a path.

        :raises OSError: when Placement does not answer, or refuses.
        """
        return self.expect("GET", path)

    def expect(self, method: str, path: str, body: object = None) -> Any:
        """Send a request that has to succeed; return the body of the answer.

        :raises OSError: when Placement does not answer, or refuses.
        """
        status, answer = self.request(method, path, body)
        if status not in (200, 201, 204):
            raise OSError(f"{method} {path}: status {status}: {answer}")
        return answer


def find(placement: Placement) -> int:
    """Print each inventory of which more is used than it has."""
    doubles = 0
    for provider in placement.get("/resource_providers")["resource_providers"]:
        path = f"/resource_providers/{provider['uuid']}"
        usages = placement.get(f"{path}/usages")["usages"]
        inventories = placement.get(f"{path}/inventories")["inventories"]
        for name, used in usages.items():
            has = inventories.get(name)
            # Reserved units may be in use: they were reserved afterwards.
            if has is None or used <= has["total"] * has["allocation_ratio"]:
                continue
            doubles += 1
            allocations = placement.get(f"{path}/allocations")["allocations"]
            consumers = sorted(
                consumer
                for consumer, entry in allocations.items()
                if name in entry["resources"]
            )
            print(
                f"{provider['name']} ({provider['uuid']}): {used} of"
                f" {has['total']} {name} used, by {', '.join(consumers)}"
            )
    return doubles


class Race:
    """Clients that claim the same providers, and count what they share."""

    def __init__(self, placement: Placement, seconds: float) -> None:
        self._placement = placement
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self.claims = self.doubles = 0
        self.refusals: dict[int, int] = {}
        self.failure: OSError | None = None
        self.providers: list[str] = []

    def create(self) -> None:
        """Create the providers, each with an inventory of one."""
        self._placement.expect("PUT", f"/resource_classes/{_CLASS}")
        for number in range(_PROVIDERS):
            key = str(uuid.uuid4())
            body = {"uuid": key, "name": f"placement-doubles-{number}-{key}"}
            self._placement.expect("POST", "/resource_providers", body)
            self.providers.append(key)
            self._placement.expect(
                "PUT",
                f"/resource_providers/{key}/inventories",
                {
                    "resource_provider_generation": 0,
                    "inventories": {_CLASS: {"total": 1}},
                },
            )

    def remove(self) -> None:
        """Remove the providers and the resource class; print what stays."""
        paths = [f"/resource_providers/{key}" for key in self.providers]
        for path in (*paths, f"/resource_classes/{_CLASS}"):
            status, text = self._placement.request("DELETE", path)
            if status != 204:
                print(
                    f"placement_doubles: {path} stays: {status}: {text}",
                    file=sys.stderr,
                )

    def run(self) -> None:
        """Run all clients until the time is over."""
        clients = [
            threading.Thread(target=self._client) for _ in range(_CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            for client in clients:
                client.join()
        finally:
            # After Ctrl-C too: none may claim what is about to be removed.
            self._end = 0.0
            for client in clients:
                client.join()
        if self.failure is not None:
            raise self.failure

    def _client(self) -> None:
        try:
            while time.monotonic() < self._end and self.failure is None:
                self._claim_once()
        except OSError as error:
            self.failure = error

    def _claim_once(self) -> None:
        count = random.choice((1, 3))  # noqa: S311 - no secret
        chosen = random.sample(self.providers, count)
        consumer = str(uuid.uuid4())
        path = f"/allocations/{consumer}"
        status, _ = self._placement.request(
            "PUT",
            path,
            {
                "allocations": {
                    key: {"resources": {_CLASS: 1}} for key in chosen
                },
                "project_id": "placement-doubles",
                "user_id": "placement-doubles",
                "consumer_generation": None,
            },
        )
        if status != 204:
            with self._lock:
                self.refusals[status] = self.refusals.get(status, 0) + 1
            return
        others: set[str] = set()
        for key in chosen:
            answer = self._placement.get(
                f"/resource_providers/{key}/allocations"
            )
            others |= set(answer["allocations"]) - {consumer}
        with self._lock:
            self.claims += 1
            self.doubles += bool(others)
        self._placement.request("DELETE", path)


def provoke(placement: Placement, seconds: float) -> int:
    """Let clients race; print and return how many claims were doubled."""
    race = Race(placement, seconds)
    try:
        race.create()
        race.run()
    finally:
        race.remove()
    refused = ", ".join(
        f"{count} with status {status}"
        for status, count in sorted(race.refusals.items())
    )
    if not race.claims:
        raise OSError(f"no claim was accepted; refused: {refused or 'none'}")
    print(
        f"{race.claims} claims were accepted, {race.doubles} of them of an"
        f" inventory of 1 that another consumer has too; refused:"
        f" {refused or 'none'}"
    )
    return race.doubles


def main() -> int:
    """Run the command that the arguments name."""
    description, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("find", "provoke"))
    parser.add_argument("url", metavar="URL")
    parser.add_argument(
        "--seconds",
        type=float,
        default=40.0,
        help="how long the clients of provoke race (default: 40)",
    )
    arguments = parser.parse_args()
    placement = Placement(arguments.url)
    try:
        if arguments.command == "find":
            return int(bool(find(placement)))
        return int(bool(provoke(placement, arguments.seconds)))
    except OSError as error:
        print(f"placement_doubles: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
