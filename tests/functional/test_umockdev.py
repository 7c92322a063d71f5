"""Our recordings are umockdev's, and umockdev's are ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.model.reading import known

RECORDINGS = sorted(
    (Path(__file__).parents[1] / "recordings").glob("*.umockdev")
)


def listed(path: str) -> list[str]:
    """What lspci shows of a recording that umockdev replays."""
    done = subprocess.run(
        ("umockdev-run", "-d", path, "--", "lspci", "-Dn"),
        capture_output=True,
        text=True,
        check=True,
    )
    return [" ".join(line.split()[:3]) for line in done.stdout.splitlines()]


def shown(path: str) -> list[str]:
    """The same, as discovery reads it."""
    lines = []
    for found in discovery.functions(recorded_tree.load(path)):
        code = known(found.class_code)
        vendor, product = known(found.vendor_id), known(found.product_id)
        assert code is not None
        lines.append(
            f"{found.address} {code >> 8:04x}: {vendor:04x}:{product:04x}"
        )
    return lines


@pytest.mark.parametrize("path", [recorded_tree.SEED, *map(str, RECORDINGS)])
def test_umockdev_replays_what_we_wrote(path: str) -> None:
    assert listed(path) == shown(path)


def test_we_read_what_umockdev_wrote(tmp_path: Path) -> None:
    """This very machine, whatever it has."""
    path = tmp_path / "host.umockdev"
    written = subprocess.run(
        ("umockdev-record", "--all"), capture_output=True, check=True
    )
    path.write_bytes(written.stdout)
    here = subprocess.run(
        ("lspci", "-Dn"), capture_output=True, text=True, check=True
    )
    wanted = [" ".join(line.split()[:3]) for line in here.stdout.splitlines()]
    assert shown(str(path)) == wanted
