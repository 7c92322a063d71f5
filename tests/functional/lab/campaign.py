"""Which part of a long campaign is run: all of it, or one by the seed."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_CHECKOUT = Path(__file__).resolve().parents[3]
_PART = "GPU_PASSTHROUGH_CAMPAIGN"
_SEED = "GPU_PASSTHROUGH_SEED"

# tools/parts.sh runs them; tests/functional/test_parts.py compares.
_SHARDS = 4
_DRAWN = "drawn"


def is_whole() -> bool:
    """Return whether everything is run, as ``./run-tests.sh --all`` does."""
    return os.environ.get(_PART) == "all"


def is_part() -> bool:
    """Return whether only some of the rotating tests are to be run."""
    return os.environ.get(_PART) == "part"


def seed() -> str:
    """Return what the part depends on: each commit runs another one."""
    named = os.environ.get(_SEED)
    if named:
        return named
    found = subprocess.run(
        ("git", "rev-parse", "--short", "HEAD"), cwd=_CHECKOUT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.strip() or "0"


def chosen(points: Sequence[T], count: int) -> list[T]:
    """Return ``count`` of the points, in order; all where all is run."""
    if is_whole() or len(points) <= count:
        return list(points)
    # No secret is made of it.
    draw = random.Random(seed())  # noqa: S311
    numbers = draw.sample(range(len(points)), count)
    return [points[number] for number in sorted(numbers)]


def shards() -> tuple[str, ...]:
    """Return what a campaign's test is parametrized by.

    Where all is run, that is one id for each shard, such as "1of4", so that
    shards can run at the same time and in parts of their own.
    """
    if not is_whole():
        return (_DRAWN,)
    return tuple(f"{n}of{_SHARDS}" for n in range(1, _SHARDS + 1))


def of_shard(shard: str, points: Sequence[T], count: int) -> list[T]:
    """Return the points of a shard, which are neighbours.

    :param shard: one of ``shards()``.
    :param count: how many there are where a part is drawn.
    """
    if shard == _DRAWN:
        return chosen(points, count)
    number, total = map(int, shard.split("of"))
    begin = len(points) * (number - 1) // total
    return list(points[begin : len(points) * number // total])


def header() -> str:
    """Return what tells how to run the same part again."""
    if is_whole():
        return "campaigns: whole"
    part = f" {_PART}=part" if is_part() else ""
    return f"campaigns: a part; the same again with {_SEED}={seed()}{part}"
