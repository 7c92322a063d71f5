"""Golden files: what a surface prints, in one file that a rewording changes.

A test renders everything that its surface can say as one text and calls
``assert_golden``.  After an intended rewording, write the files again and
read their diff before committing it:

    GPU_PASSTHROUGH_WRITE_GOLDEN=1 ./run-tests.sh tests/unit -k golden
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

WRITE = "GPU_PASSTHROUGH_WRITE_GOLDEN"


def assert_golden(path: Path, text: str) -> None:
    """Raise if ``text`` differs from the golden file at ``path``.

    :raises AssertionError: with the difference, and how to accept it.
    """
    if os.environ.get(WRITE):
        path.write_text(text, encoding="utf-8")
        return
    expected = path.read_text(encoding="utf-8") if path.exists() else ""
    if text == expected:
        return
    diff = difflib.unified_diff(
        expected.splitlines(), text.splitlines(), str(path), "now", lineterm=""
    )
    raise AssertionError(
        "\n".join((*diff, f"to accept this, run the test with {WRITE}=1"))
    )


def sections(messages: Mapping[str, str | Iterable[str]]) -> str:
    """Return messages as one text: each under its key, in the given order."""
    parts = []
    for key, value in messages.items():
        lines = [value] if isinstance(value, str) else list(value)
        parts.append("\n".join((f"[{key}]", *lines, "")))
    return "\n".join(parts)
