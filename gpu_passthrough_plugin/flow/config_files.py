"""Generated files that an operator copies to a service, and may edit.

Each carries a mark with a digest of its contents, which tells a file that
was edited since from one that may be replaced.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import Action, Write

# A file that has this with the right digest was written here, and nobody
# edited it.
_MARK = re.compile(
    rb"^# Written by 'gpu-passthrough nova config' \(([0-9a-f]{16})\)[^\n]*\n",
    re.MULTILINE,
)
_HEAD_BYTES = 256


class ConfigFile(NamedTuple):
    """One generated file.

    :param name: without a folder.
    :param goes_to: which service reads it, and where.
    """

    name: str
    goes_to: str
    text: str
    mode: int = 0o644


def marked(text: str) -> bytes:
    """Return the text with the mark, as UTF-8.

    The mark is the first line, or the second below a ``#!``.
    """
    data = text.encode(errors="backslashreplace")
    first = b""
    if data.startswith(b"#!"):
        first = data[: data.index(b"\n") + 1]
    mark = (
        f"# Written by 'gpu-passthrough nova config' ({_digest(data)}), which"
        " replaces it unless it was edited.\n"
    )
    return first + mark.encode() + data[len(first) :]


def is_unedited(data: bytes) -> bool:
    """Return whether ``marked`` made it and nothing changed it since."""
    mark = _MARK.search(data, 0, _HEAD_BYTES)
    if mark is None:
        return False
    rest = data[: mark.start()] + data[mark.end() :]
    return _digest(rest) == mark[1].decode()


def planned(
    files: Files, folder: str, generated: Sequence[ConfigFile]
) -> tuple[Write, ...]:
    """Return the writes that put generated files into a folder.

    Nothing is written yet.

    :param folder: an absolute path; it may be missing.
    :raises Refused: when a file of that name was edited or is not ours.
    """
    writes = []
    foreign = []
    for file in generated:
        path = posixpath.join(folder, file.name)
        was, becomes = files.read(path), marked(file.text)
        writes.append(Write(file.goes_to, path, was, becomes, file.mode))
        if was not in (None, becomes) and not is_unedited(was or b""):
            foreign.append(path)
    if foreign:
        raise errors.Refused(
            f"{', '.join(foreign)}: edited, or not written by 'nova config';"
            " nothing was written. Move it away, or use another directory"
        )
    return tuple(writes)


def put(files: Files, writes: Sequence[Write]) -> None:
    """Write each file whole or not at all; leave what is unchanged.

    :raises Unavailable: when one cannot be written.
    """
    for write in writes:
        if write.action is not Action.KEEP and write.becomes is not None:
            files.put(write.path, write.becomes, write.mode)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
