"""The comparisons of ``benchmarks.claims``, by the numbers of its rows."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import statistics
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from benchmarks import floor, laps, own
from benchmarks.crowd import crowd
from benchmarks.floor import Floor, Transaction
from benchmarks.laps import Seen, Side
from benchmarks.own import Own
from benchmarks.rival import Placement
from gpu_passthrough_plugin.allocation.sql import schema
from gpu_passthrough_plugin.model.allocation import Allocation
from tests.functional.servers.databases import MariaDB, PostgreSQL
from tests.unit.allocation.build import request

# What Placement takes for one claim grows with its fleet, so that it gets
# fewer of them.
_RIVAL_TIMES = ((100, 10), (1000, 3), (100_000, 1))


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How a row is measured.

    :param hosts: how many there are.
    :param database: ``sqlite``, ``mariadb`` or ``postgresql``.
    :param times: claims of ours in a lap.
    :param passes: laps of each side.
    """

    hosts: int
    database: str
    times: int
    passes: int
    clients: int = 1

    @property
    def rival_times(self) -> int:
        most = next(n for size, n in _RIVAL_TIMES if self.hosts <= size)
        return min(self.times, most)


class Found(NamedTuple):
    """What a measurement gave, and what else is to be said of it."""

    seen: Seen
    note: str = ""


@contextlib.contextmanager
def places(database: str) -> Iterator[Callable[[], str]]:
    """Gives URLs of fresh databases."""
    if database == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield lambda: f"sqlite:///{folder}/{uuid.uuid4().hex}"
        return
    kind = MariaDB if database == "mariadb" else PostgreSQL
    with kind(durable=True) as server:
        yield server.new_database


def claim_and_placement(plan: Plan) -> Found:
    """Row 1: a claim of one unit, beside Placement's."""
    with places(plan.database) as place:
        ours, theirs = _filled(place(), plan.hosts), Placement(place())
        theirs.fill(plan.hosts)
        return Found(
            laps.compare(
                _claiming(ours, plan.times),
                Side(theirs.claim, theirs.free, plan.rival_times),
                plan.passes,
                _clock(plan),
            )
        )


def clients_and_placement(plan: Plan) -> Found:
    """Row 2: claims of several clients, beside Placement's as many."""
    with places(plan.database) as place:
        urls = place(), place()
        own.fill(urls[0], plan.hosts)
        Placement(urls[1]).fill(plan.hosts)
        with (
            crowd("own", urls[:1] * plan.clients) as ours,
            crowd("rival", urls[1:] * plan.clients) as theirs,
        ):
            pairs = [
                (
                    1 / ours.rush(plan.times).claims,
                    1 / theirs.rush(plan.rival_times).claims,
                )
                for _ in range(plan.passes)
            ]
        return Found(laps.seen(pairs, "wall"))


def claim_and_floor(plan: Plan) -> Found:
    """Row 3: a claim, beside its own statements alone."""
    with places("sqlite") as place:
        base = place()
        own.fill(base, plan.hosts)
        count = plan.times
        claims = floor.record(Own(_copied(base, place())), 1, count)
        pairs = []
        for number in range(plan.passes):
            ours = _said_again(Own(_copied(base, place())), count)
            bare = _replayed(Own(_copied(base, place())), claims)
            sides = [ours, bare]
            if number % 2:
                sides.reverse()
            costs = {id(side): side.lap().cpu_s for side in sides}
            pairs.append((costs[id(ours)], costs[id(bare)]))
        note = f"{sum(len(t.said) for t in claims[-1])} statements a claim"
        return Found(laps.seen(pairs, "cpu"), note)


def _said_again(ours: Own, count: int) -> Side[object]:
    """The claims that were written down, made by the ledger."""
    ours.warm_up()
    asked = request("gpu:1")
    names = iter(floor.consumers(count))
    return Side(lambda: ours.ledger.claim(asked, next(names)), _nothing, count)


def _replayed(bare: Own, claims: list[list[Transaction]]) -> Side[object]:
    """Their statements alone."""
    bare.warm_up()
    return Side(Floor(bare, claims).claim, _nothing, len(claims))


def claim_and_small_fleet(plan: Plan) -> Found:
    """Row 4: a claim in a fleet, beside one in a fleet of ten hosts."""
    with places(plan.database) as place:
        ours, small = _filled(place(), plan.hosts), _filled(place(), 10)
        return Found(
            laps.compare(
                _claiming(ours, plan.times),
                _claiming(small, plan.times),
                plan.passes,
                _clock(plan),
            )
        )


def eight_and_one(plan: Plan) -> Found:
    """Row 5: eight units of one host, beside one unit."""
    times = min(plan.times, plan.hosts)
    with places("sqlite") as place:
        ours = _filled(place(), plan.hosts)
        return Found(
            laps.compare(
                Side(lambda: ours.claim(own.UNITS), ours.free, times),
                Side(ours.claim, ours.free, times),
                plan.passes,
                "cpu",
            )
        )


def eight_and_placement(plan: Plan) -> Found:
    """Row 5: eight units of the only host, beside Placement's."""
    with places("sqlite") as place:
        ours, theirs = _filled(place(), 1), Placement(place(), most=10)
        theirs.fill(1)
        return Found(
            laps.compare(
                Side(lambda: ours.claim(own.UNITS), ours.free, 1),
                Side(lambda: theirs.claim(own.UNITS), theirs.free, 1),
                plan.passes,
                "cpu",
            )
        )


def crowd_and_one(plan: Plan) -> Found:
    """Row 6: eight clients, beside one."""
    with places(plan.database) as place:
        url = place()
        own.fill(url, plan.hosts)
        return _crowds(plan, [url] * plan.clients, [url])


def crowd_and_crowd(plan: Plan) -> Found:
    """Row 6: eight clients of one ledger, beside eight of one each.

    These cannot meet; all else is the same.
    """
    with places(plan.database) as place:
        urls = [place() for _ in range(plan.clients)]
        for url in urls:
            own.fill(url, plan.hosts)
        return _crowds(plan, urls[:1] * plan.clients, urls)


def _crowds(plan: Plan, ours: list[str], theirs: list[str]) -> Found:
    """Two crowds by turns, and how often the first began again."""
    retries = []
    pairs = []
    with crowd("own", ours) as first, crowd("own", theirs) as second:
        for number in range(plan.passes):
            sides = [first, second]
            if number % 2:
                sides.reverse()
            seen = {side: side.rush(plan.times) for side in sides}
            retries.append(seen[first].retries)
            pairs.append((1 / seen[first].claims, 1 / seen[second].claims))
    note = f"{statistics.mean(retries):.3f} retries a claim"
    return Found(laps.seen(pairs, "wall"), note)


def host_and_placement(plan: Plan) -> Found:
    """Row 7: registering a host, beside 9 POST and 8 PUT to Placement."""
    with places("sqlite") as place:
        ours, theirs = _filled(place(), 1), Placement(place())
        theirs.prepare()
        names = iter(range(1_000_000))
        return Found(
            laps.compare(
                Side(
                    lambda: ours.register(f"new-{next(names)}"),
                    ours.remove,
                    plan.times,
                ),
                Side(
                    lambda: theirs.register(f"new-{next(names)}"),
                    theirs.remove,
                    min(plan.times, 3),
                ),
                plan.passes,
                "cpu",
            )
        )


def unchanged_and_select(plan: Plan) -> Found:
    """Row 8: publishing what is there, beside one SELECT and a commit."""
    with places("sqlite") as place:
        ours = _filled(place(), plan.hosts)
        host = "host-00000"
        units = own.shown(host)
        table = schema.host
        question = sa.select(table).where(table.c.name == sa.bindparam("host"))
        engine = ours.ledger.database.engine

        def select() -> None:
            with engine.begin() as connection:
                connection.execute(question, {"host": host}).first()

        return Found(
            laps.compare(
                Side(
                    lambda: ours.ledger.publish(host, units),
                    _nothing,
                    plan.times,
                ),
                Side(select, _nothing, plan.times),
                plan.passes,
                "cpu",
            )
        )


def _filled(url: str, hosts: int) -> Own:
    own.fill(url, hosts)
    return Own(url)


def _claiming(ours: Own, times: int) -> Side[Allocation]:
    return Side(ours.claim, ours.free, times)


def _clock(plan: Plan) -> str:
    """A server's CPU time is not this process's."""
    return "cpu" if plan.database == "sqlite" else "wall"


def _nothing(_: object) -> None:
    pass


def _copied(source: str, target: str) -> str:
    """A copy of a ledger in a file, which nobody has open."""
    before, after = (
        Path(sa.make_url(u).database or "") for u in (source, target)
    )
    for suffix in ("", "-wal", "-shm"):
        if Path(f"{before}{suffix}").exists():
            shutil.copyfile(f"{before}{suffix}", f"{after}{suffix}")
    return target
