"""Files that an operator takes to where they belong, and may edit."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import Action, Write

# What tells a file of ours that nobody edited from any other.
_MARK = re.compile(
    rb"^# Written by 'gpu-passthrough nova config' \(([0-9a-f]{16})\)[^\n]*\n",
    re.MULTILINE,
)
_HEAD_BYTES = 256


class Part(NamedTuple):
    """One file.

    :param name: without a folder.
    :param goes_to: who reads it, and where.
    """

    name: str
    goes_to: str
    text: str
    mode: int = 0o644


def marked(text: str) -> bytes:
    """The text with a line that says whose it is, and of what contents."""
    data = text.encode(errors="backslashreplace")
    first = b""
    if data.startswith(b"#!"):
        first = data[: data.index(b"\n") + 1]
    mark = (
        f"# Written by 'gpu-passthrough nova config' ({_digest(data)}), which"
        " replaces it until somebody edits it.\n"
    )
    return first + mark.encode() + data[len(first) :]


def is_unedited(data: bytes) -> bool:
    """Whether ``marked`` made it, and nobody changed it since."""
    found = _MARK.search(data, 0, _HEAD_BYTES)
    if found is None:
        return False
    rest = data[: found.start()] + data[found.end() :]
    return _digest(rest) == found[1].decode()


def planned(
    files: Files, folder: str, parts: Sequence[Part]
) -> tuple[Write, ...]:
    """What puts the parts into a folder; nothing is written yet.

    :param folder: an absolute path; it need not be there.
    :raises Refused: when a file of that name is somebody else's.
    """
    writes = []
    foreign = []
    for part in parts:
        path = posixpath.join(folder, part.name)
        was, becomes = files.read(path), marked(part.text)
        writes.append(Write(part.goes_to, path, was, becomes, part.mode))
        if was not in (None, becomes) and not is_unedited(was or b""):
            foreign.append(path)
    if foreign:
        raise errors.Refused(
            f"edited, or not ours: {', '.join(foreign)}; nothing was written:"
            " move that away, or name another folder"
        )
    return tuple(writes)


def put(files: Files, writes: Sequence[Write]) -> None:
    """Write them, each whole or not at all; what is right is left alone.

    :raises Unavailable: when one cannot be written.
    """
    for write in writes:
        if write.action is not Action.KEEP and write.becomes is not None:
            files.put(write.path, write.becomes, write.mode)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
