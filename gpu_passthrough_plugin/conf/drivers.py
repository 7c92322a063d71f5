"""Names of the drivers that are installed, without importing one."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection


def installed(namespace: str) -> frozenset[str]:
    """Names of the entry points in ``namespace``.

    It reads the metadata of all that is installed: tens of milliseconds.
    """
    found = importlib.metadata.entry_points(group=namespace)
    return frozenset(point.name for point in found)


def wanted(names: Collection[str]) -> str:
    """What to write instead of a driver that is not among ``names``."""
    listed = ", ".join(sorted(names)) or "none is installed"
    return f"wanted one of: {listed}; or install the package that has it"
