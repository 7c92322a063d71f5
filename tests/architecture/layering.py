"""What a module uses and its room does not allow."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.architecture.reading import PACKAGE, Module, Use, modules
from tests.architecture.rooms import DOORS, EMPTY_WORDS, ROOMS, Room

# The ground floor: each of these may use those before it, and every other
# room may use all of them.
_GROUND = ("errors", "model", "formats")
_READ_ONLY = frozenset({"discovery"})


def faults(root: Path) -> list[str]:
    """A line for each use that is not allowed, in the package at root."""
    return [fault for module in modules(root) for fault in _faults(module)]


def room_of(name: str) -> str:
    """The room that a module of the package is in."""
    while name and name not in ROOMS:
        name = name.rpartition(".")[0]
    return name


def _faults(module: Module) -> Iterator[str]:
    place = room_of(module.name)
    if EMPTY_WORDS & set(module.name.split(".")):
        yield f"{module.path}: is named for nothing; name what it holds"
    if not place and module.name:
        yield f"{module.path}: is in no room; add it to ROOMS"
        return
    for use in module.uses:
        fault = _fault(use, place, ROOMS[place])
        if fault:
            yield f"{module.path}:{use.line}: {fault}"
    if place in _READ_ONLY:
        for line in module.writes:
            yield f"{module.path}:{line}: {place} opens a file to write"


def _fault(use: Use, place: str, room: Room) -> str:
    top = use.name.partition(".")[0]
    if top == PACKAGE:
        return _room_fault(use.name, place, room)
    if top not in sys.stdlib_module_names | {"builtins"}:
        is_allowed = _is_below(use.name, room.packages)
        return "" if is_allowed else f"{place} uses {use.name}"
    if _is_below(use.name, DOORS) and not _is_open(use.name, room):
        return f"{place} opens a door: {use.name}"
    if room.stdlib is not None and top not in room.stdlib | {"builtins"}:
        return f"{place} uses {use.name}"
    return ""


def _room_fault(name: str, place: str, room: Room) -> str:
    inside = name.removeprefix(PACKAGE).removeprefix(".")
    other = inside.partition(".")[0]
    own = place.partition(".")[0]
    below = _GROUND[: _GROUND.index(own)] if own in _GROUND else _GROUND
    if not other or other in {own, *below, *room.rooms}:
        return ""
    return f"{place or 'the root'} imports {name}"


def _is_open(name: str, room: Room) -> bool:
    # A bare import opens nothing yet: what is used of the module does.
    is_opened = any(door.startswith(f"{name}.") for door in room.doors)
    return is_opened or _is_below(name, room.doors)


def _is_below(name: str, names: Iterable[str]) -> bool:
    return any(name == n or name.startswith(f"{n}.") for n in names)
