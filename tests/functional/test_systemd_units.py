"""The systemd units, against systemd itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "etc/systemd"
SERVICES = (
    UNITS / "gpu-passthrough-reconcile.service",
    UNITS / "gpu-passthrough-agent.service",
)
# In tenths, as the guide says it.  More is worse.
EXPOSURE = {"gpu-passthrough-reconcile": 42, "gpu-passthrough-agent": 45}
_PROGRAMS = "=/opt/gpu-passthrough/bin/"


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.stem)
def test_the_service_is_confined(service: Path) -> None:
    command = ("systemd-analyze", "security", "--offline=true", "--no-pager")
    threshold = f"--threshold={EXPOSURE[service.stem]}"
    done = subprocess.run(
        (*command, threshold, str(service)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for name in ("gpu-passthrough", "gpu-passthrough-agent"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    copies = []
    for unit in UNITS.iterdir():
        text = unit.read_text()
        if unit in SERVICES:
            assert _PROGRAMS in text
            text = text.replace(_PROGRAMS, f"={tmp_path}/")
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(text)
    done = subprocess.run(
        ("systemd-analyze", "verify", *map(str, copies)),
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "gpu-pass" in line]
    assert (done.returncode, ours) == (0, [])
