"""What a plan does to files, as ``diff -u`` shows it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from gpu_passthrough_plugin.model.change import Action, Change, Write

_NOTHING = "/dev/null"


def lines(changes: Iterable[Change]) -> Iterator[str]:
    """A unified diff of every file that is written, without newlines."""
    for change in changes:
        if isinstance(change, Write) and change.action is not Action.KEEP:
            yield from _of(change)


def _of(write: Write) -> Iterator[str]:
    old = _NOTHING if write.was is None else write.path
    new = _NOTHING if write.becomes is None else write.path
    diff = difflib.unified_diff(
        _text(write.was), _text(write.becomes), old, new, lineterm=""
    )
    for line in diff:
        yield line.rstrip("\n")


def _text(content: bytes | None) -> list[str]:
    text = (content or b"").decode("utf-8", "backslashreplace")
    return text.splitlines()
