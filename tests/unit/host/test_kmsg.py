from __future__ import annotations

import os
from pathlib import Path

from gpu_passthrough_plugin.formats.kernel_log import parsed
from gpu_passthrough_plugin.host import kmsg
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why


def test_records_until_the_next_would_wait(tmp_path: Path) -> None:
    """A pipe that somebody still writes to waits as /dev/kmsg does."""
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    try:
        os.write(writer, b"6,1,10,-;one\n SUBSYSTEM=pci\n")
        os.write(writer, b"6,2,20,-;two \xff\n")
        text = kmsg.text(str(path))
    finally:
        os.close(writer)
        os.close(reader)
    assert isinstance(text, str)
    assert parsed(text) == ("one", "two \ufffd")


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    lines = [f"6,{n},10,-;line {n}" for n in range(10_000)]
    path.write_text("\n".join(lines))
    text = kmsg.text(str(path))
    assert isinstance(text, str)
    assert len(parsed(text)) == 10_000


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert kmsg.text(str(tmp_path / "nowhere")) == MISSING
    found = kmsg.text(str(tmp_path))
    assert isinstance(found, Unknown) and found.why is Why.UNREADABLE
