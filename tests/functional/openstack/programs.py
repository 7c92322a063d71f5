"""Programs of the environment that come to an end."""

from __future__ import annotations

import concurrent.futures
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.functional.lab.leash import DYING_WITH_US
from tests.functional.openstack import venv

_MOST_S = 300


def run(
    argv: Sequence[str], variables: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """How a program of the environment's ended, and what it wrote.

    :param argv: its name and its arguments.
    :param folder: where it runs.
    """
    return subprocess.run(
        (*DYING_WITH_US, *argv),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_MOST_S,
        cwd=folder,
        env=venv.environment(**variables),
    )


def output(
    argv: Sequence[str], variables: Mapping[str, str], folder: Path
) -> str:
    """What a program wrote that had to succeed."""
    done = run(argv, variables, folder)
    assert done.returncode == 0, f"{argv}: {done.stdout}\n{done.stderr}"
    return done.stdout


def together(*calls: Callable[[], object]) -> None:
    """Make the calls at the same time; the first one's error is raised."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        for made in [pool.submit(call) for call in calls]:
            made.result()
