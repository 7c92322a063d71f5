"""Who holds a lock of this host."""

from __future__ import annotations

import os
from pathlib import Path

from gpu_passthrough_plugin.host.local_lock import owner


def test_the_owner_is_a_process_that_runs(tmp_path: Path) -> None:
    note = tmp_path / "node-1.holder"
    nobody = "an unknown process"
    assert owner(str(note)) == nobody
    for text in ("", "x", "x command", "-1 command", f"{2**70} command"):
        note.write_text(text)
        assert owner(str(note)) == nobody
    note.write_bytes(b"\xff command")
    assert owner(str(note)) == nobody
    note.write_text(f"{os.getpid()} gpu-passthrough host enable")
    name = f"process {os.getpid()} (gpu-passthrough host enable)"
    assert owner(str(note)).startswith(name)
    os.utime(note, (os.stat(note).st_mtime - 90,) * 2)
    assert int(owner(str(note)).split()[-2]) in range(90, 120)
