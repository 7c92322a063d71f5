"""Every test belongs to exactly one part of a run, whole or drawn."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PARTS = '. tools/parts.sh; printf "%s\\n" "${!1}"'
PROFILES = '. tools/parts.sh; profiles_for "$@"; echo "${PROFILES[*]}"'
PART = '. tools/parts.sh; part "$1"; printf "%s\\n" "${ARGUMENTS[@]}"'


def lines(*command: str, campaign: str = "all") -> list[str]:
    """Return the lines that a command of the checkout printed."""
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, "GPU_PASSTHROUGH_CAMPAIGN": campaign},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.splitlines()


def collected(arguments: Sequence[str], campaign: str) -> list[str]:
    """Return the ids of the tests that pytest would run."""
    pytest_ = (sys.executable, "-m", "pytest", "--collect-only", "-q")
    # One process is enough for a list.
    options = ("-p", "no:xdist", "-p", "no:cacheprovider")
    found = lines(
        *pytest_, *options, *without_xdist(arguments), campaign=campaign
    )
    return [line for line in found if "::" in line]


def without_xdist(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without ``-n NUMBER`` and ``--dist KIND``."""
    left = list(arguments)
    for option in ("-n", "--dist"):
        if option in left:
            index = left.index(option)
            del left[index : index + 2]
    return left


def part_arguments(name: str, campaign: str) -> list[str]:
    """Return pytest's arguments for a part; none where it runs no test."""
    shown = lines("bash", "-c", PART, "part", name, campaign=campaign)
    return [line for line in shown if line]


def test_the_fast_part_is_every_folder_but_the_functional_tests() -> None:
    folders = {
        f"tests/{path.relative_to(CHECKOUT / 'tests').parts[0]}"
        for path in (CHECKOUT / "tests").rglob("test_*.py")
    }
    fast = part_arguments("unit", "all")
    assert sorted([*fast, "tests/functional"]) == sorted(folders)


@pytest.mark.parametrize(
    ("parts", "campaign"), [("PARTS[@]", "all"), ("USUAL[@]", "part")]
)
def test_parts_cover_every_functional_test_once(
    parts: str, campaign: str
) -> None:
    names = lines("bash", "-c", PARTS, "parts", parts)
    asked = [
        part_arguments(name, campaign) for name in names if name != "unit"
    ]
    # Parts that name their tests are collected in one go, to save time.
    ids = [a for arguments in asked for a in arguments if "::" in a]
    assert len(ids) == len(set(ids))
    calls = [["tests/functional"], *([ids] if ids else [])]
    calls += [a for a in asked if a and "::" not in a[0]]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        everything, *selections = pool.map(
            collected, calls, [campaign] * len(calls)
        )
    counts = collections.Counter(
        test for selection in selections for test in selection
    )
    assert [test for test, count in counts.items() if count > 1] == []
    assert set(counts) == set(everything)
    assert len(everything) > 900


@pytest.mark.parametrize(
    ("arguments", "profiles"),
    [
        (("tests/unit", "-k", "alias"), []),
        (("-x", "tests/unit/model/test_address.py::test_a", "--lf"), []),
        (("./tests/property", "tests/architecture/"), []),
        ((str(CHECKOUT / "tests/unit"),), []),
        (("tests/functional/test_setup.py",), ["test", "servers"]),
        (
            ("tests/unit", "tests/functional/test_setup.py"),
            ["test", "servers"],
        ),
        (("tests/functional", "-m", "not lab"), ["test", "servers"]),
        (("tests/functional/test_lab.py",), ["test", "servers", "lab"]),
        (("tests/functional",), ["test", "servers", "lab"]),
        (("tests",), ["test", "servers", "lab"]),
        (("-k", "alias"), ["test", "servers", "lab"]),
    ],
)
def test_named_tests_need_no_more_than_their_profiles(
    arguments: tuple[str, ...], profiles: list[str]
) -> None:
    shown = lines("bash", "-c", PROFILES, "profiles", *arguments)
    assert " ".join(shown).split() == profiles


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--no-install", "--all", "moon"), "moon is not a part"),
        # These before anything is installed.
        (("--bogus",), "--bogus is not an option"),
        (("--quick", "--all"), "--all is not an option"),
    ],
)
def test_a_wrong_call_is_refused(words: tuple[str, ...], message: str) -> None:
    done = subprocess.run(
        ("./run-tests.sh", *words),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "installing" not in done.stdout + done.stderr


def test_the_list_names_every_part() -> None:
    listed = lines("./run-tests.sh", "--no-install", "--all", "list")
    names = lines("bash", "-c", PARTS, "parts", "PARTS[@]")
    assert [line.split()[0] for line in listed] == names
