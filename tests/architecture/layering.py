"""Who imports whom, and who opens doors.

The ground floor is for everybody.  Stages share its values and its readers of
foreign texts, and import no other stage.  Only the edge opens doors.  Drivers
are reached through their contract alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.architecture.reading import PACKAGE, Module, Use, modules
from tests.architecture.rooms import (
    CONTRACTS,
    DOORS,
    DRIVERS,
    GROUND,
    ROOMS,
    STAGES,
    Room,
)

_READ_ONLY = frozenset({"discovery", "discovery.route_dump"})


def faults(root: Path) -> list[str]:
    """Return a line for each use that a module's room does not allow."""
    return [fault for module in modules(root) for fault in _faults(module)]


def leaks(root: Path) -> list[str]:
    """Return a line for each import that goes past a contract of drivers."""
    return [
        f"{module.path}:{use.line}: imports {use.name}, past the contract"
        for module in modules(root)
        for use in module.uses
        if _leaks(module.name, use.name.removeprefix(f"{PACKAGE}."))
    ]


def compositions(root: Path) -> list[str]:
    """Return a line for each stage that the cli calls without the flow."""
    return sorted(
        {
            f"{module.path}: imports {_stage(use.name)}, not through flow"
            for module in modules(root)
            for use in module.uses
            if room_of(module.name) == "cli" and _stage(use.name) in STAGES
        }
    )


def house(root: Path) -> list[str]:
    """Return a line for each room that is missing, or is not declared."""
    names = {module.name for module in modules(root)}
    folders = {name.partition(".")[0] for name in names}
    declared = {name.partition(".")[0] for name in ROOMS}
    return [
        *(f"{name}: no such room" for name in sorted(set(ROOMS) - names)),
        *(f"{name}: not in ROOMS" for name in sorted(folders - declared)),
    ]


def _leaks(module: str, name: str) -> bool:
    for drivers in DRIVERS:
        if _is_below(name, (drivers,)) and not _is_below(module, (drivers,)):
            return True
    stage, _, inside = name.partition(".")
    if stage not in CONTRACTS or module.partition(".")[0] == stage:
        return False
    return bool(inside) and inside.partition(".")[0] not in CONTRACTS[stage]


def _stage(name: str) -> str:
    return name.removeprefix(f"{PACKAGE}.").partition(".")[0]


def room_of(name: str) -> str:
    """Return the room that a module of the package is in."""
    while name and name not in ROOMS:
        name = name.rpartition(".")[0]
    return name


def _faults(module: Module) -> Iterator[str]:
    place = room_of(module.name)
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
    below = GROUND[: GROUND.index(own)] if own in GROUND else GROUND
    if not other or other in {own, *below, *room.rooms}:
        return ""
    return f"{place or 'the root'} imports {name}"


def _is_open(name: str, room: Room) -> bool:
    # A bare import opens nothing yet: what is used of the module does.
    is_opened = any(door.startswith(f"{name}.") for door in room.doors)
    return is_opened or _is_below(name, room.doors)


def _is_below(name: str, names: Iterable[str]) -> bool:
    return any(name == n or name.startswith(f"{n}.") for n in names)
