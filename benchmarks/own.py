"""Our ledger in this process, and a fleet in it."""

from __future__ import annotations

import contextlib
import logging
import uuid

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import database
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.unit import State, Unit
from tests.unit.allocation.build import request, unit

UNITS = 8


class Own:
    """The ledger, asked as everybody asks it."""

    def __init__(self, url: str) -> None:
        self.ledger = SqlLedger(LedgerSettings(url))
        self.repeats = _Repeats()

    def claim(self, units: int = 1) -> Allocation:
        return self.ledger.claim(request(f"gpu:{units}"), str(uuid.uuid4()))

    def warm_up(self) -> None:
        """Have looked up what a process looks up once; change nothing."""
        with contextlib.suppress(errors.NoValidHost):
            self.claim(9999)

    def free(self, held: Allocation) -> None:
        for record in held.units:
            self.ledger.move(record, State.FREE)

    def register(self, host: str) -> str:
        self.ledger.publish(host, shown(host))
        return host

    def remove(self, host: str) -> None:
        self.ledger.publish(host, ())


def fill(url: str, hosts: int) -> None:
    """Have so many hosts publish their units in a new ledger."""
    # Nobody waits for the disk to know that it is full.
    settings = LedgerSettings(url, {"sqlite_synchronous": False})
    ledger = SqlLedger(settings)
    ledger.sync()
    for number in range(hosts):
        host = f"host-{number:05}"
        ledger.publish(host, shown(host))
    ledger.close()
    _analyze(url)


def _analyze(url: str) -> None:
    """Have PostgreSQL know its tables, as it does by itself in a minute.

    Until then it takes them for small, and reads them whole.  Source:
    PostgreSQL's documentation, ``autovacuum_naptime``.
    """
    engine = sa.create_engine(url)
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(sa.text("ANALYZE"))
    engine.dispose()


def shown(host: str) -> list[Unit]:
    """Eight cards with two functions each, on two NUMA nodes."""
    return [unit(bus, host=host, node=bus % 2) for bus in range(1, UNITS + 1)]


class _Repeats(logging.Handler):
    """Counts the transactions that were done again."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.count = 0
        logger = logging.getLogger(database.__name__)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
