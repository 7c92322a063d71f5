"""From where libvirt may run the hook."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.hook import installation
from gpu_passthrough_plugin.compute.hook.installation import (
    ProductInstallation,
)
from gpu_passthrough_plugin.model.hook import PathFact
from tests.golden import assert_golden, sections

PYTHON = "/opt/gpu-passthrough/bin/python3"
PACKAGE = "/opt/gpu-passthrough/lib/python3.11/site-packages/package"
FOLDER, FILE, LINK = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK


def installed(*facts: PathFact, **changes: object) -> ProductInstallation:
    lasting = (
        PathFact("/", 0, 0, FOLDER | 0o755),
        PathFact("/opt", 0, 0, FOLDER | 0o775),
        PathFact(PYTHON, 0, 0, LINK | 0o777),
        PathFact("/usr/bin/python3.11", 0, 0, FILE | 0o755),
    )
    made = ProductInstallation(PYTHON, PACKAGE, (*lasting, *facts))
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def refusal(made: ProductInstallation) -> str:
    with pytest.raises(errors.Refused) as caught:
        installation.require_lasting(made)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("python", "package"),
    [
        (PYTHON, PACKAGE),
        ("/usr/bin/python3", "/usr/lib/python3/dist-packages/package"),
        ("/usr/bin/python3", "/usr/local/lib/python3/dist-packages/package"),
        ("/srv/tmp/bin/python3", "/srv/cache/package"),
        ("/runtime/bin/python3", "/root/src/package"),
    ],
)
def test_an_installation_of_roots(python: str, package: str) -> None:
    installation.require_lasting(installed(python=python, package=package))


CACHED = [
    "/root/.cache/gpu-passthrough-plugin/venv-1/bin/python3",
    "/home/me/.cache/venv/bin/python3",
    *(f"{f}/1000/bin/python3" for f in installation.TEMPORARY_FOLDERS),
    "/srv/quick/venv/bin/python3",
]


@pytest.mark.parametrize("path", CACHED)
def test_a_cache_is_no_place_for_it(path: str) -> None:
    caches = ("/srv/quick",)
    message = refusal(installed(python=path, caches=caches))
    assert path in message
    assert "/opt/gpu-passthrough" in message
    message = refusal(installed(package=path, caches=caches))
    assert path in message


OPEN = [
    PathFact("/opt/gpu-passthrough", 1000, 0, FOLDER | 0o755),
    PathFact(f"{PACKAGE}/flow/hook.py", 1000, 0, FILE | 0o644),
    PathFact("/opt/gpu-passthrough", 0, 0, FOLDER | 0o1777),
    PathFact(f"{PACKAGE}/flow/hook.py", 0, 0, FILE | 0o666),
    PathFact("/opt/gpu-passthrough", 0, 50, FOLDER | 0o2775),
    PathFact("/opt/gpu-passthrough/bin/python3", 1000, 0, LINK | 0o777),
]


@pytest.mark.parametrize("fact", OPEN)
def test_nobody_but_root_may_change_it(fact: PathFact) -> None:
    assert fact.path in refusal(installed(fact))


def test_quickstarts_environment_is_told_apart() -> None:
    message = refusal(installed(is_quickstart=True))
    assert "quickstart.sh" in message
    assert PYTHON in message


def test_messages() -> None:
    made = {
        "quickstart": installed(is_quickstart=True),
        "cache": installed(python=CACHED[0], package=CACHED[1]),
        "user": installed(OPEN[0]),
        "everybody": installed(OPEN[3]),
        "group": installed(OPEN[4]),
        "many": installed(*OPEN),
    }
    assert_golden(
        Path(__file__).with_name("installation.txt"),
        sections({name: refusal(each) for name, each in made.items()}),
    )
