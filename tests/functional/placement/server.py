"""Placement under a WSGI server, its database a SQLite file."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.model.allocation import Weight
from tests.functional.lab.leash import DYING_WITH_US
from tests.functional.servers.process import free_port

TOKEN = "admin"  # noqa: S105 - of a server on loopback that ends soon
_START_S = 60
# The kernel kills a server when the *thread* that started it ends; this
# one lives as long as the process.  Source: PR_SET_PDEATHSIG(2const).
_STARTER = concurrent.futures.ThreadPoolExecutor(1, "placement")

_CONFIGURATION = """\
[api]
auth_strategy = noauth2
[placement_database]
connection = {connection}
sync_on_startup = true
"""


class PlacementServer:
    """Placement on a free port of 127.0.0.1; it dies with its maker.

    :param connection: SQLAlchemy's URL of its database; by default a file.
    :param threads: how many requests it answers at once.
    """

    def __init__(self, connection: str = "", threads: int = 4) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="gpt-placement."))
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None
        connection = connection or f"sqlite:///{self.folder}/placement.sqlite"
        (self.folder / "placement.conf").write_text(
            _CONFIGURATION.format(connection=connection)
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Returns when it answers; also after ``stop`` or ``kill``."""
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = _STARTER.submit(
                subprocess.Popen,
                [
                    *DYING_WITH_US,
                    *(sys.executable, "-m", "waitress"),
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                    *("--threads", str(self._threads)),
                    "placement.wsgi.api:application",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=os.environ | {"OS_PLACEMENT_CONFIG_DIR": str(self.folder)},
            ).result()
        end = time.monotonic() + _START_S
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(  # noqa: S310 - http, as above
                self.url, timeout=5
            ) as answer:
                return b"max_version" in answer.read()
        except OSError:
            return False

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Ends it and removes what it left."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def settings(
        self, weight: Weight = Weight.PACK, **placement: object
    ) -> LedgerSettings:
        """What a ledger in it is made with."""
        return settings_of(self.url, weight, **placement)

    def ledger(self, weight: Weight = Weight.PACK) -> PlacementLedger:
        """A ledger in it, whose classes and traits are there."""
        found = PlacementLedger(self.settings(weight))
        found.sync()
        return found


def settings_of(
    url: str, weight: Weight = Weight.PACK, **placement: object
) -> LedgerSettings:
    """What a ledger in the Placement of that URL is made with."""
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


def emptied(ledger: PlacementLedger) -> PlacementLedger:
    """The same ledger without hosts, units and consumers."""
    service = ledger.service
    listed = service.get("/resource_providers")["resource_providers"]
    for entry in listed:
        path = f"/resource_providers/{entry['uuid']}/allocations"
        for consumer in service.get(path)["allocations"]:
            assert service.delete(f"/allocations/{consumer}").status == 204
    # Children before their parents.
    listed.sort(key=lambda e: e["parent_provider_uuid"] is None)
    for entry in listed:
        path = f"/resource_providers/{entry['uuid']}"
        assert service.delete(path).status == 204
    return ledger
