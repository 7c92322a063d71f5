"""Line coverage of the pure rooms by unit and property tests.

    python -m tests.architecture.room_coverage DATA

prints it by room, from what coverage.py wrote to DATA, and fails when a room
has less than ``ratchets.toml`` says; ``--raise`` raises the figures there to
what there is.
"""

from __future__ import annotations

import argparse
import collections
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import coverage

from tests.architecture import ratchets
from tests.architecture.reading import PACKAGE, modules
from tests.architecture.rooms import PURE, is_pure

AIM_PERCENT = 95
# No floor is higher: a guard that only a real host reaches may come.
MOST_PERCENT = 98


class Room(NamedTuple):
    """What of a room's lines was run."""

    lines: int
    missing: int

    @property
    def percent(self) -> float:
        """100 where there is nothing to run."""
        return 100 * (1 - self.missing / self.lines) if self.lines else 100.0


def rooms(root: Path, data: Path) -> dict[str, Room]:
    """Return the pure rooms in order."""
    measured = coverage.Coverage(
        data_file=str(data), config_file=str(root / "pyproject.toml")
    )
    measured.load()
    lines: collections.Counter[str] = collections.Counter()
    missing: collections.Counter[str] = collections.Counter()
    for module in modules(root):
        if is_pure(module.name):
            room = module.name.partition(".")[0]
            _, statements, _, not_run, _ = measured.analysis2(
                str(root / module.path)
            )
            lines[room] += len(statements)
            missing[room] += len(not_run)
    return {room: Room(lines[room], missing[room]) for room in sorted(PURE)}


def table(measured: Mapping[str, Room], floors: Mapping[str, int]) -> str:
    """Return a line a room, and what is less than it has to be."""
    rows = [
        f"{'room':<12} {'lines':>6} {'not run':>8} {'covered':>8} {'floor':>6}"
    ]
    for name, room in measured.items():
        floor = floors.get(name, 0)
        told = " fell below its floor" if room.percent < floor else ""
        if not told and room.percent < AIM_PERCENT:
            told = f" below the aim, {AIM_PERCENT} %"
        rows.append(
            f"{name:<12} {room.lines:>6} {room.missing:>8}"
            f" {room.percent:>6.1f} % {floor:>4} %{told}"
        )
    return "\n".join(rows)


def fallen(
    measured: Mapping[str, Room], floors: Mapping[str, int]
) -> list[str]:
    """Return the rooms that have less than their floor."""
    return [
        name
        for name, room in measured.items()
        if room.percent < floors.get(name, 0)
    ]


def raised(
    measured: Mapping[str, Room], floors: Mapping[str, int]
) -> dict[str, int]:
    """Return the floors, each as high as what is covered lets it be."""
    return {
        name: max(min(int(room.percent), MOST_PERCENT), floors.get(name, 0))
        for name, room in measured.items()
    }


def main(argv: list[str]) -> int:
    """Print the table; return 1 when a room fell below its floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--raise", action="store_true", dest="raises")
    options = parser.parse_args(argv)
    measured = rooms(ratchets.CHECKOUT, options.data.resolve())
    floors = ratchets.floors()
    if options.raises:
        floors = raised(measured, floors)
        ratchets.write(ratchets.limits(), floors)
    print(f"lines of {PACKAGE} that unit and property tests run")
    print(table(measured, floors))
    return 1 if fallen(measured, floors) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
