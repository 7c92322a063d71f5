"""Placement in a WSGI server, by default with a SQLite file."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Sequence

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.model.allocation import Weight
from tests.functional.servers.process import Server

TOKEN = "admin"  # noqa: S105 - of a short-lived server on loopback

_CONFIGURATION = """\
[api]
auth_strategy = noauth2
[placement_database]
connection = {connection}
sync_on_startup = true
"""


class PlacementServer(Server):
    """Placement in a WSGI server.

    :param connection: SQLAlchemy URL of its database; by default a file.
    :param threads: how many requests it serves at once.
    :param options: more lines of its configuration.
    """

    # The user nobody cannot read this Python environment.
    needs_user = False

    def __init__(
        self, connection: str = "", threads: int = 4, options: str = ""
    ) -> None:
        super().__init__()
        self._options = options
        self._variables = {"OS_PLACEMENT_CONFIG_DIR": str(self.folder)}
        self._threads = threads
        self._connection = (
            connection or f"sqlite:///{self.folder}/placement.sqlite"
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        (self.folder / "placement.conf").write_text(
            _CONFIGURATION.format(connection=self._connection) + self._options
        )

    def _command(self) -> Sequence[str]:
        return (
            *(sys.executable, "-m", "waitress"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--threads", str(self._threads)),
            "placement.wsgi.api:application",
        )

    def _answers(self) -> bool:
        with urllib.request.urlopen(  # noqa: S310 - http, as above
            self.url, timeout=5
        ) as answer:
            return b"max_version" in answer.read()

    def settings(
        self, weight: Weight = Weight.PACK, **placement: object
    ) -> LedgerSettings:
        """Return the settings of a ledger in it."""
        return settings_of(self.url, weight, **placement)

    def ledger(self, weight: Weight = Weight.PACK) -> PlacementLedger:
        """Return a ledger in it, after ``sync``."""
        ledger = PlacementLedger(self.settings(weight))
        ledger.sync()
        return ledger


def settings_of(
    url: str, weight: Weight = Weight.PACK, **placement: object
) -> LedgerSettings:
    """Return the settings of a ledger in the Placement at a URL."""
    return LedgerSettings(
        "",
        weight=weight,
        placement={
            "auth_type": "admin_token",
            "endpoint": url,
            "token": TOKEN,
            **placement,
        },
    )


def empty(ledger: PlacementLedger) -> None:
    """Delete all hosts, units and consumers of a ledger."""
    service = ledger.service
    listed = service.get("/resource_providers")["resource_providers"]
    for entry in listed:
        path = f"/resource_providers/{entry['uuid']}/allocations"
        for consumer in service.get(path)["allocations"]:
            assert service.delete(f"/allocations/{consumer}").status == 204
    # Children first.
    listed.sort(key=lambda e: e["parent_provider_uuid"] is None)
    for entry in listed:
        path = f"/resource_providers/{entry['uuid']}"
        assert service.delete(path).status == 204
