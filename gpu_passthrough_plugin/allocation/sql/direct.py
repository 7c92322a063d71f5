"""The ledger's file, without SQLAlchemy: what the libvirt hook does there.

SQLite only, of exactly one schema, and only what ``take`` and ``move``
would do, in one transaction: all of it or nothing.  Anything that is not
as expected is left for ``SqlLedger``.
"""

from __future__ import annotations

import os

# What ``sqlite3`` is made of.  That itself imports ``datetime`` as well,
# for types that are not used here; it takes as long as all the rest.
try:
    import _sqlite3 as sqlite3
except ImportError:
    import sqlite3  # type: ignore[no-redef]

from gpu_passthrough_plugin.model.guard import (
    Answer,
    Held,
    Ledger,
    is_ending,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    Row = tuple[object, ...]
    Decide = Callable[[Ledger], Answer]

SCHEMA = "0002"
"""The newest of ``version.KNOWN``."""

# Places below zero.  Source: allocation.capacity.
_ANYWHERE, _ONE_NODE, _NO_NODE = -3, -2, -1
_BUSY_TIMEOUT_S = 30
_FREE = "free"

_HOST = "SELECT id, disabled_reason FROM host WHERE name = ?"
_UNITS = """
SELECT unit.id, unit.address, unit.numa_node, unit.state, unit.generation,
       unit.is_missing, unit.reason, unit_function.address,
       unit_function.vendor_id, unit_function.product_id,
       unit_function.device_type, unit_function.is_primary, consumer.uuid
FROM unit
JOIN unit_function ON unit_function.unit_id = unit.id
LEFT JOIN allocation ON allocation.unit_id = unit.id
LEFT JOIN consumer ON consumer.id = allocation.consumer_id
WHERE unit.host_id = ?
"""
_HAS = """
SELECT consumer.request, host.name, unit.address, unit.state
FROM consumer
JOIN allocation ON allocation.consumer_id = consumer.id
JOIN unit ON unit.id = allocation.unit_id
JOIN host ON host.id = unit.host_id
WHERE consumer.uuid = ?
ORDER BY host.name, unit.address
"""
_MOVE = """
UPDATE unit
SET state = ?, reason = '', token = ?, generation = generation + ?
WHERE id = ? AND generation = ?
"""
_COUNT = """
UPDATE supply SET free = ? WHERE host_id = ? AND card_id = ? AND place = ?
"""
_ADD_CONSUMER = """
INSERT INTO consumer (uuid, host_id, request) VALUES (?, ?, ?)
"""
_ADD_ALLOCATION = """
INSERT INTO allocation (unit_id, consumer_id) VALUES (?, ?)
"""


class Unsuited(Exception):
    """The file is not what this can work with: ask ``SqlLedger``."""


class _Unit:
    """A unit's row, and its primaries' cards."""

    __slots__ = ("cards", "generation", "held", "id", "is_offered", "node")

    def __init__(self, row: tuple[object, ...]) -> None:
        (
            self.id, key, self.node, state, self.generation, is_missing,
            reason, *_, consumer,
        ) = row  # fmt: skip
        self.held = Held(
            str(key), {}, frozenset(), str(state),
            None if consumer is None else str(consumer), str(reason),
        )  # fmt: skip
        self.is_offered = state == _FREE and not is_missing
        self.cards: list[Row] = []

    def add(self, row: tuple[object, ...]) -> None:
        """One of its functions."""
        address, vendor_id, product_id, device_type, is_primary = row
        ids = f"{vendor_id:04x}:{product_id:04x}"
        self.held.functions[str(address)] = ids
        if is_primary:
            self.held.primaries |= {str(address)}
            self.cards.append((vendor_id, product_id, device_type))


class Direct:
    """One host's part of a ledger in a file.

    :param path: of the file, which has to be there.
    """

    def __init__(self, path: str, host: str) -> None:
        self._path = path
        self._host = host

    def attempt(self, uuid: str, decide: Decide, request: str) -> Answer:
        """What was decided on the ledger as it is, and done in it.

        :param request: what a consumer that had nothing asked for.
        :raises Unsuited: when nothing was done.
        """
        with _Transaction(self._path) as found:
            host_id, disabled = _host(found, self._host)
            units = _units(found, host_id)
            has = found.execute(_HAS, (uuid,)).fetchall()
            answer = decide(
                Ledger(
                    tuple(unit.held for unit in units.values()),
                    disabled,
                    has[0][0] if has else "",
                    tuple((host, at, state) for _, host, at, state in has),
                )
            )
            if answer.changes_nothing:
                return answer
            for key in answer.moves:
                _move(found, units[key], "active", 1)
            if answer.takes:
                taken = [units[key] for key in answer.takes]
                _take(found, host_id, uuid, request, taken)
                _count(found, host_id, units.values(), answer.takes)
            found.commit()
            return answer

    def let_go(self, uuid: str) -> bool:
        """Whether there is something of its to give back.

        What was active is releasing then.

        :raises Unsuited: when nothing was done.
        """
        with _Transaction(self._path) as found:
            host_id, _ = _host(found, self._host)
            own = [
                unit
                for unit in _units(found, host_id).values()
                if unit.held.consumer == uuid
            ]
            for unit in own:
                if unit.held.state == "active":
                    _move(found, unit, "releasing", 1)
            has = found.execute(_HAS, (uuid,)).fetchall()
            found.commit()
            return any(is_ending(state, request) for request, *_, state in has)


class _Transaction:
    """A transaction that writes; nothing is done unless it is committed."""

    def __init__(self, path: str) -> None:
        # What has a meaning of its own in a URI.
        for letter in "%?#":
            path = path.replace(letter, f"%{ord(letter):02x}")
        self._uri = f"file:{path}?mode=rw"

    def __enter__(self) -> _Transaction:
        try:
            self._connection = sqlite3.connect(
                self._uri,
                uri=True,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
            )
        except sqlite3.Error as error:
            raise Unsuited(str(error)) from error
        try:
            self.execute("PRAGMA foreign_keys = ON")
            self.execute("PRAGMA synchronous = FULL")
            # Who reads first and writes later fails when another wrote.
            self.execute("BEGIN IMMEDIATE")
            (version,) = self.execute(
                "SELECT version_num FROM alembic_version"
            ).fetchone() or ("",)
            if version != SCHEMA:
                raise Unsuited(f"schema {version}")
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # Rolls back what was not committed.
        self._connection.close()

    def execute(self, statement: str, values: Row = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise Unsuited(str(error)) from error

    def change(self, statement: str, values: Row) -> None:
        """Change exactly one row.

        :raises Unsuited: when it is none, or several.
        """
        if self.execute(statement, values).rowcount != 1:
            raise Unsuited("a row is not what it was read as")

    def commit(self) -> None:
        self.execute("COMMIT")


def _host(found: _Transaction, name: str) -> tuple[int, str | None]:
    """The id of its row, 0 where there is none; why it is disabled."""
    row = found.execute(_HOST, (name,)).fetchone()
    return row or (0, None)


def _units(found: _Transaction, host_id: int) -> dict[str, _Unit]:
    units: dict[str, _Unit] = {}
    for row in found.execute(_UNITS, (host_id,)):
        unit = units.get(row[1])
        if unit is None:
            unit = units[row[1]] = _Unit(row)
        unit.add(row[7:12])
    return units


def _move(found: _Transaction, unit: _Unit, state: str, steps: int) -> None:
    token = os.urandom(16).hex()
    found.change(_MOVE, (state, token, steps, unit.id, unit.generation))


def _take(
    found: _Transaction,
    host_id: int,
    uuid: str,
    request: str,
    taken: list[_Unit],
) -> None:
    """Claim units, and have them active: two steps of their lives."""
    added = found.execute(_ADD_CONSUMER, (uuid, host_id, request))
    for unit in taken:
        if not unit.is_offered:
            raise Unsuited(f"unit {unit.held.key} is not offered")
        _move(found, unit, "active", 2)
        found.execute(_ADD_ALLOCATION, (unit.id, added.lastrowid))


def _count(
    found: _Transaction,
    host_id: int,
    units: Iterable[_Unit],
    taken: Collection[str],
) -> None:
    """Write what the host supplies less by the units that were taken."""
    units = list(units)
    before = _supply(units, ())
    after = _supply(units, taken)
    cards = {
        tuple(card): card_id
        for card_id, *card in found.execute(
            "SELECT id, vendor_id, product_id, device_type FROM card"
        )
    }
    for key, number in after.items():
        if number == before[key]:
            continue
        card, place = key
        if card not in cards:
            raise Unsuited("a card is not known")
        found.change(_COUNT, (number, host_id, cards[card], place))


def _supply(
    units: Iterable[_Unit], taken: Collection[str]
) -> dict[tuple[Row, object], int]:
    """How many primaries are free by card and place, as ``supply`` has it."""
    counts: dict[Row, dict[object, int]] = {}
    for unit in units:
        is_free = unit.is_offered and unit.held.key not in taken
        place = _NO_NODE if unit.node is None else unit.node
        for card in unit.cards:
            places = counts.setdefault(card, {})
            places[place] = places.get(place, 0) + is_free
    found: dict[tuple[Row, object], int] = {}
    for card, places in counts.items():
        for place, number in places.items():
            found[card, place] = number
        found[card, _ANYWHERE] = sum(places.values())
        found[card, _ONE_NODE] = max(places.values())
    return found
