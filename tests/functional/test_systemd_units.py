"""The systemd units, against systemd itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

UNITS = Path(__file__).parents[2] / "etc/systemd"
SERVICE = UNITS / "gpu-passthrough-reconcile.service"
# In tenths, as the guide says it.  More is worse.
EXPOSURE = 42
_PROGRAM = "=/opt/gpu-passthrough/bin/gpu-passthrough "


def test_the_service_is_confined() -> None:
    command = ("systemd-analyze", "security", "--offline=true", "--no-pager")
    threshold = f"--threshold={EXPOSURE}"
    done = subprocess.run(
        (*command, threshold, str(SERVICE)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    program = tmp_path / "gpu-passthrough"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copies = []
    for unit in UNITS.iterdir():
        text = unit.read_text()
        if unit == SERVICE:
            assert _PROGRAM in text
            text = text.replace(_PROGRAM, f"={program} ")
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
