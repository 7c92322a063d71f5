"""What claiming costs, beside OpenStack Placement and beside its floor.

Run it from a checkout with benchmarks/requirements.txt installed, and with
MariaDB and PostgreSQL for the rows that need them::

    python -m benchmarks.claims

Both sides are in one process, by turns; each figure is the median of the
passes' ratios.  Each measurement has a process of its own.  The table is
reStructuredText; a row is told on stderr as soon as it is known.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_CHECKOUT = Path(__file__).parents[1]
_DATABASES = ("sqlite", "mariadb", "postgresql")
_DEFAULT_HOSTS = (10, 1000, 10_000)
_HEADS = ("row", "work", "beside", "ours", "theirs", "ratio", "goal", "note")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    :param number: of the goal that it belongs to.
    :param way: the function of ``benchmarks.rows`` that measures it.
    :param goal: what the ratio has to reach, or not to pass.
    :param is_slower: whether the goal is how much dearer ours may be.
    """

    number: int
    way: str
    work: str
    against: str
    goal: float
    database: str = "sqlite"
    hosts: int = 1000
    clients: int = 1
    is_slower: bool = False


def rows(hosts: tuple[int, ...]) -> Iterator[Row]:
    """The whole table, for fleets of these sizes."""
    middle = max((n for n in hosts if n <= 1000), default=hosts[0])
    placement = "Placement: GET candidates, PUT allocations"
    goals = {10: 25.0, 1000: 300.0, 10_000: 3000.0}
    for size in hosts:
        yield Row(
            1, "claim_and_placement", "a claim of one unit", placement,
            goals.get(size, 25.0), hosts=size,
        )  # fmt: skip
    for clients in (1, 8):
        yield Row(
            2, "clients_and_placement", f"claims of {clients} clients",
            placement, 100, "mariadb", middle, clients,
        )  # fmt: skip
    yield Row(
        3, "claim_and_floor", "a claim of one unit",
        "its statements as prebuilt Core", 2, hosts=middle, is_slower=True,
    )  # fmt: skip
    for database in _DATABASES:
        yield Row(
            4, "claim_and_small_fleet", "a claim of one unit",
            "the same at 10 hosts", 1.3 if database == "sqlite" else 1.6,
            database, hosts[-1], is_slower=True,
        )  # fmt: skip
    yield Row(
        5, "eight_and_one", "8 units of one host", "one unit", 2.5,
        hosts=middle, is_slower=True,
    )  # fmt: skip
    yield Row(
        5, "eight_and_placement", "8 units of the only host",
        "Placement's 8 groups, 10 candidates", 1000, hosts=1,
    )  # fmt: skip
    for database in _DATABASES:
        yield Row(
            6, "crowd_and_one", "claims of 8 clients", "of one",
            0.3 if database == "sqlite" else 2, database, middle, 8,
        )  # fmt: skip
    for database in _DATABASES[1:]:
        yield Row(
            6, "crowd_and_crowd", "claims of 8 clients on one ledger",
            "of 8 on one each", 0.9, database, middle, 8,
        )  # fmt: skip
    yield Row(
        7, "host_and_placement", "registering a host",
        "Placement: 9 POST, 8 PUT", 50, hosts=1,
    )  # fmt: skip
    yield Row(
        8, "unchanged_and_select", "publishing an unchanged host",
        "one SELECT and a commit", 3, hosts=middle, is_slower=True,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=_numbers, default=_DEFAULT_HOSTS,
                        help="sizes of fleets, such as 10,1000")  # fmt: skip
    parser.add_argument("--rows", type=_numbers, default=tuple(range(1, 9)),
                        help="which of them, such as 1,3")  # fmt: skip
    parser.add_argument("--databases", type=_words, default=_DATABASES,
                        help="which of them, such as sqlite")  # fmt: skip
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--times", type=int, default=40,
                        help="claims of ours in a pass")  # fmt: skip
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        _measure(chosen.measure)
        return 0
    told: list[tuple[str, ...]] = [_HEADS]
    for row in rows(chosen.hosts):
        if row.number in chosen.rows and row.database in chosen.databases:
            found = _measured(row, chosen.times, chosen.passes)
            told.append(_told(row, found))
            print("  ".join(told[-1]), file=sys.stderr, flush=True)
    print("\n".join(_table(told)))
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _measured(row: Row, times: int, passes: int) -> dict[str, object]:
    """What a process of its own finds."""
    plan = {
        "hosts": row.hosts,
        "database": row.database,
        "times": times,
        "passes": passes,
        "clients": row.clients,
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.claims"),
            *("--measure", json.dumps([row.way, plan])),
        ],
        cwd=_CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(_CHECKOUT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _measure(text: str) -> None:
    # Placement takes a second to import, which only this process needs.
    from benchmarks import rows as ways

    way, plan = json.loads(text)
    found = getattr(ways, way)(ways.Plan(**plan))
    print(json.dumps(dataclasses.asdict(found.seen) | {"note": found.note}))


def _told(row: Row, found: dict[str, object]) -> tuple[str, ...]:
    """A line of the table, by which a goal is met or not."""
    ratio = float(str(found["ratio"]))
    if row.is_slower:
        ratio = 1 / ratio
    is_met = ratio <= row.goal if row.is_slower else ratio >= row.goal
    sign = "≤" if row.is_slower else "≥"
    return (
        str(row.number),
        f"{row.work}, {row.database}, {row.hosts:,} hosts",
        row.against,
        f"{found['ours_ms']:.3g} ms",
        f"{found['theirs_ms']:.3g} ms",
        f"{ratio:,.3g} ({found['clock']})",
        f"{sign} {row.goal:g}: {'met' if is_met else 'not met'}",
        str(found["note"]) or "-",
    )


def _table(told: list[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a simple table of reStructuredText's."""
    widths = [max(map(len, column)) for column in zip(*told, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    yield rule
    for number, cells in enumerate(told):
        padded = zip(cells, widths, strict=True)
        yield "  ".join(c.ljust(w) for c, w in padded).rstrip()
        if number == 0:
            yield rule
    yield rule


if __name__ == "__main__":
    sys.exit(main())
