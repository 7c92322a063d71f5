"""Which pure modules no unit or property test imports."""

from __future__ import annotations

from pathlib import Path

from tests.architecture.reading import modules, uses_of
from tests.architecture.rooms import is_pure

_FAST = ("tests/unit", "tests/property")


def untested(root: Path) -> list[str]:
    """Return a line for each pure module that is reached through others alone.

    A package's own ``__init__`` counts when it has code.
    """
    names: set[str] = set()
    for folder in _FAST:
        for path in sorted((root / folder).rglob("*.py")):
            names |= uses_of(path, root)
    return [
        f"{module.path}: no unit or property test imports it"
        for module in modules(root)
        if is_pure(module.name)
        and module.code_lines
        and not _is_used(module.name, names)
    ]


def _is_used(name: str, names: set[str]) -> bool:
    return any(use == name or use.startswith(f"{name}.") for use in names)
