"""Nova's own code of several releases, asked about configurations.

Each runs in an environment of its own (``environment.sh``), as one process
that answers lines of JSON (``judge.py``).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.nova.lint import host_view

CHECKOUT = Path(__file__).parents[3]
FOLDER = Path("tests", "functional", "nova")
# Each release with the requirements of its environment.
RELEASES: Mapping[int, str] = {
    34: "requirements.txt",
    31: "requirements-31.txt",
    29: "requirements-29.txt",
}

# A vendor whose functions have a serial number in their VPD, without which
# Nova leaves one that is tagged as remotely managed.
_WITH_SERIAL = "15b3"

Functions = Sequence[Mapping[str, Any]]
"""A host's functions, as nova-compute would see them."""


class Judgement(NamedTuple):
    """What Nova makes of a configuration; ``judge.py`` tells more.

    :param refused: why a service does not start; empty where all do.
    :param service: which one does not.
    :param listed: of each address the number of the entry that lists it.
    :param aliases: of each alias the addresses that satisfy it.
    :param unsatisfied: the aliases that no flavor gets a device for.
    """

    refused: str
    service: str
    listed: Mapping[str, int]
    aliases: Mapping[str, Sequence[str]]
    unsatisfied: Sequence[str]


class Nova:
    """Nova's own code, asked by lines of JSON."""

    def __init__(
        self, release: Release, given: IO[str], taken: IO[str]
    ) -> None:
        self.release = release
        self._given, self._taken = given, taken

    def judge(self, text: str, functions: Functions) -> Judgement:
        """What Nova makes of a configuration on a host."""
        return Judgement(**self.answer(conf=text, devices=functions))

    def answer(self, **question: object) -> Any:
        self._given.write(json.dumps(question) + "\n")
        self._given.flush()
        return json.loads(self._taken.readline())


@contextlib.contextmanager
def started(number: int, log: Path) -> Iterator[Nova]:
    """A release of Nova, by its number in ``RELEASES``.

    :param log: what Nova itself writes goes there.
    """
    made = subprocess.run(
        [FOLDER / "environment.sh", FOLDER / RELEASES[number]],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    python = Path(made.stdout.split()[-1]) / "bin" / "python"
    with (
        log.open("w") as errors_file,
        subprocess.Popen(
            [python, FOLDER / "judge.py"],
            cwd=CHECKOUT,
            # Its scheduler loads this project's filters.
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors_file,
            text=True,
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        yield Nova(Release(number), process.stdin, process.stdout)
        process.stdin.close()


def fixture(releases: Sequence[int]) -> Any:
    """A fixture of a module: each of these releases, by its number."""

    @pytest.fixture(scope="module", params=releases, ids=lambda n: f"nova-{n}")
    def nova(
        request: pytest.FixtureRequest,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Iterator[Nova]:
        log = tmp_path_factory.mktemp("judge") / "log"
        with started(request.param, log) as process:
            yield process

    return nova


def seen(groups: Sequence[Group]) -> Functions:
    """The functions of a host with these groups."""
    functions = []
    for device in host_view.devices(groups):
        assert isinstance(device.vendor_id, int)
        assert isinstance(device.product_id, int)
        vendor = f"{device.vendor_id:04x}"
        function: dict[str, Any] = {
            "address": str(device.address),
            "vendor_id": vendor,
            "product_id": f"{device.product_id:04x}",
            "dev_type": device.device_type,
        }
        if device.physical is not None:
            function["parent_addr"] = str(device.physical)
        if vendor == _WITH_SERIAL:
            vpd = {"card_serial_number": "MT0000X00000"}
            function["capabilities"] = {"vpd": vpd}
        functions.append(function)
    return functions
