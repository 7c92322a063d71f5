"""How large modules are, and how many import each of them."""

from __future__ import annotations

import collections
import configparser
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.architecture.reading import PACKAGE, Module, imported, modules

MOST_LINES = 400
FEWEST_CODE_LINES = 60

# Rooms and modules that may be small and have one importer, and why.
SMALL: Mapping[str, str] = {
    "conf": "one module a group of options, as in OpenStack",
}


def too_long(root: Path) -> list[str]:
    """Return a line for each module that is longer than a subject is."""
    return [
        f"{module.path}: {module.lines} lines, past {MOST_LINES}; split it"
        for module in modules(root)
        if module.lines > MOST_LINES
    ]


def tests_too_long(root: Path) -> list[str]:
    """Return a line for each test module that is longer than that."""
    found = []
    for path in sorted((root / "tests").rglob("*.py")):
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > MOST_LINES:
            shown = path.relative_to(root)
            found.append(
                f"{shown}: {lines} lines, past {MOST_LINES}; split it"
            )
    return found


def module_count(root: Path) -> list[str]:
    """Return every module but the packages' own, for their number."""
    return [module.path for module in modules(root) if not module.is_package]


def too_small(root: Path, reasons: Mapping[str, str] = SMALL) -> list[str]:
    """Return a line for each small module that belongs to its one importer."""
    entered = entry_points(root)
    found = []
    for module, importers in _importers(root):
        is_own = module.name in entered or _reason(module.name, reasons)
        if len(importers) != 1 or module.is_package or is_own:
            continue
        lines = module.code_lines
        if lines < FEWEST_CODE_LINES:
            found.append(
                f"{module.path}: {lines} lines of code for"
                f" {importers[0]} alone; put them there"
            )
    return found


def reasons_without_need(
    root: Path, reasons: Mapping[str, str] = SMALL
) -> list[str]:
    """Return each exception that no module needs any more."""
    small = {
        _reason(module.name, reasons)
        for module, importers in _importers(root)
        if len(importers) == 1 and module.code_lines < FEWEST_CODE_LINES
    }
    return sorted(
        f"{name}: in SMALL for nothing" for name in set(reasons) - small
    )


def _reason(name: str, reasons: Mapping[str, str]) -> str:
    """Return which of the exceptions a module is, or "" for none."""
    while name and name not in reasons:
        name = name.rpartition(".")[0]
    return name


def entry_points(root: Path) -> frozenset[str]:
    """Return the modules that setup.cfg's entry points name."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(root / "setup.cfg", encoding="utf-8")
    if not parser.has_section("entry_points"):
        return frozenset()
    lines = "\n".join(parser["entry_points"].values()).splitlines()
    targets = (line.partition("=")[2].strip() for line in lines)
    return frozenset(
        target.partition(":")[0].removeprefix(f"{PACKAGE}.")
        for target in targets
        if target.startswith(PACKAGE)
    )


def _importers(root: Path) -> Iterator[tuple[Module, list[str]]]:
    every = modules(root)
    names = frozenset(module.name for module in every)
    importers = collections.defaultdict(list)
    for module in every:
        for name in imported(module, names):
            importers[name].append(module.name)
    for module in every:
        yield module, sorted(importers[module.name])
