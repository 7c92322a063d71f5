"""Real Nova, by its own functional fixtures: each outcome is one test here.

They run below ``nova/``, by stestr in an environment of their own; a usual run
draws some of them.
"""

from __future__ import annotations

import ast
import csv
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.functional.lab import campaign

CHECKOUT = Path(__file__).parents[2]
FOLDER = Path(__file__).with_name("nova")
WORKERS = "2"
DRAWN = 10

# Nova's services are threads of one process there, copies of one context
# share a transaction, and on a busy machine one now and then meets another
# half way.  Source: oslo.db, sqlalchemy/enginefacade.py (_writer).
NOVAS_OWN = "Can't upgrade a READER transaction to a WRITER"


class Outcomes(NamedTuple):
    """What stestr says of each test, and in whole."""

    statuses: Mapping[str, str]
    text: str


def written() -> list[str]:
    """The name of every test below ``nova/``, as it is written there."""
    found = []
    for path in sorted(FOLDER.glob("test_*.py")):
        module = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
        for name in classes:
            tests = dict.fromkeys(_tests(name, classes))
            found += [f"{module}.{name}.{test}" for test in sorted(tests)]
    return found


def _tests(name: str, classes: Mapping[str, ast.ClassDef]) -> Iterator[str]:
    """A class's tests, with those that it has from others of its file."""
    for part in classes[name].body:
        if isinstance(part, ast.FunctionDef) and part.name.startswith("test_"):
            yield part.name
    for base in classes[name].bases:
        if isinstance(base, ast.Name) and base.id in classes:
            yield from _tests(base.id, classes)


TESTS = campaign.chosen(written(), DRAWN)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    made = run([str(FOLDER / "environment.sh")], timeout_s=900)
    assert made.returncode == 0, made.stderr.decode()
    programs = Path(made.stdout.decode().split()[-1]) / "bin"
    repository = tmp_path_factory.mktemp("stestr")
    wanted = repository.with_name("wanted.txt")
    wanted.write_text("".join(f"{test}\n" for test in TESTS))
    stestr = [
        str(programs / "stestr"),
        f"--repo-url={repository}",
        f"--test-path={FOLDER.relative_to(CHECKOUT)}",
        f"--top-dir={CHECKOUT}",
    ]
    ran = run(
        [
            *(*stestr, "run", f"--concurrency={WORKERS}"),
            f"--load-list={wanted}",
        ],
        timeout_s=1500,
    )
    statuses = _statuses(stestr)
    text = (ran.stdout + ran.stderr).decode(errors="replace")
    failed = [test for test, said in statuses.items() if said != "success"]
    if failed and all(NOVAS_OWN in block(test, text) for test in failed):
        ran = run([*stestr, "run", "--failing", "--serial"], timeout_s=600)
        statuses |= _statuses(stestr)
        text = (ran.stdout + ran.stderr).decode(errors="replace")
    return Outcomes(statuses, text)


def _statuses(stestr: Sequence[str]) -> dict[str, str]:
    """Of each test of the last run."""
    last = run([*stestr, "last", "--subunit"], timeout_s=60)
    program = str(Path(stestr[0]).with_name("subunit2csv"))
    table = run([program], last.stdout, timeout_s=60)
    rows = csv.DictReader(table.stdout.decode().splitlines())
    return {row["test"]: row["status"] for row in rows}


def run(
    command: list[str], given: bytes | None = None, *, timeout_s: int
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        input=given,
        capture_output=True,
        cwd=CHECKOUT,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        timeout=timeout_s,
        check=False,
    )


def block(test: str, text: str) -> str:
    """All that stestr shows of a test that failed."""
    _, found, rest = f"\n{text}".partition(f"\n{test}\n---")
    return f"{test}\n{_NEXT.split(rest, 1)[0]}" if found else ""


# What stestr writes over the next test that failed, and over its totals.
_NEXT = re.compile(r"^(?:\S+\n-{20,}|=+)$", re.MULTILINE)


def said_of(test: str, text: str) -> str:
    """The beginning of it; of another test the end of everything."""
    shown = block(test, text).splitlines()
    return "\n".join(shown[:80]) if shown else text[-4000:]


def test_every_test_ran(outcomes: Outcomes) -> None:
    assert sorted(outcomes.statuses) == sorted(TESTS), outcomes.text


@pytest.mark.parametrize("test", TESTS)
def test_in_nova(test: str, outcomes: Outcomes) -> None:
    status = outcomes.statuses.get(test)
    assert status == "success", said_of(test, outcomes.text)
