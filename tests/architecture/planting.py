"""Packages that break a rule on purpose, to see that the rule notices."""

from __future__ import annotations

from pathlib import Path

from tests.architecture.reading import PACKAGE


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write modules below ``root`` and return it.

    :param files: their text by name, such as ``model/unit`` for one of the
        package; with a suffix, such as ``tests/unit/test_x.py`` or
        ``setup.cfg``, any other file.
    """
    for name, text in files.items():
        path = root / (name if "." in name else f"{PACKAGE}/{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root
