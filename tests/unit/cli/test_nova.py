"""What the options of ``nova config`` ask for, and what that imports."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import nova
from gpu_passthrough_plugin.cli.nova import ConfigArguments
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release
from gpu_passthrough_plugin.model.request import NumaPolicy
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from tests.golden import assert_golden, sections
from tests.unit.cli.test_main import HEAVY, imported


def read(line: str) -> ConfigArguments:
    parser = argparse.ArgumentParser()
    nova.add_options(parser)
    return nova.read_options(parser.parse_args(line.split()), lambda: NEWEST)


def faults(line: str) -> tuple[str, ...]:
    with pytest.raises(errors.Faults) as caught:
        read(line)
    return caught.value.faults


def test_nothing_is_asked_for_by_default() -> None:
    assert read("") == ConfigArguments(
        NovaOptions(), None, is_from_ledger=False, host=""
    )


def test_everything_that_can_be_asked_for() -> None:
    line = (
        "--release 2025.2 --mode full --managed no --live-migratable yes"
        " --one-time-use no --numa-policy socket --host c1"
        " --enabled-filters ComputeFilter,MyFilter --host-trait CUSTOM_GPU"
    )
    policy = NumaPolicy.SOCKET
    assert read(line) == ConfigArguments(
        NovaOptions(
            Release(32), Mode.FULL, False, True, False, policy, "CUSTOM_GPU"
        ),
        ("ComputeFilter", "MyFilter"),
        is_from_ledger=False,
        host="c1",
    )
    assert read("--from inventory").is_from_ledger


WRONG = (
    "--release 99 --mode half --from ledger --managed true"
    " --live-migratable 1 --one-time-use NO --numa-policy near"
    " --host-trait HW_NIC --enabled-filters A,,b;c --host a/b"
)


def test_all_faults_are_reported_together() -> None:
    found = faults(WRONG)
    assert [fault.split()[0].rstrip(":") for fault in found] == [
        "--release", "--mode", "--from", "--managed", "--live-migratable",
        "--one-time-use", "--numa-policy", "--host-trait",
        "--enabled-filters",
        "--enabled-filters", "--host",
    ]  # fmt: skip


def test_a_name_for_every_host_of_the_ledger() -> None:
    (fault,) = faults("--from inventory --host c1")
    assert fault.startswith("--host ")


def test_messages() -> None:
    texts = {
        "options": "\n".join(faults(WRONG)),
        "--from and --host": faults("--from inventory --host c1"),
    }
    golden = Path(__file__).with_name("nova_messages.txt")
    assert_golden(golden, sections(texts))


def test_full_mode_on_a_release_that_cannot() -> None:
    with pytest.raises(errors.Refused, match="use primary mode"):
        read("--release 26 --mode full")


def test_neither_command_imports_a_ledger(tmp_path: Path) -> None:
    """Only ``--from inventory`` needs one."""
    seed = ("--recording", recorded_tree.SEED, "nova")
    config = (*seed, "config", "-o", str(tmp_path))
    assert imported(*config) & HEAVY == set()
    check = (*seed, "check", str(tmp_path / "gpu-compute.conf"))
    assert imported(*check) & HEAVY == set()
