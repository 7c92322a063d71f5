"""Whether a guest may start, and what is to be claimed for it: pure.

A guest takes whole units: every endpoint, or each primary alone while its
companions are reserved.  What it takes of groups that are no unit, such as
a NIC's virtual functions, is none of ours, but for what the operator
selected or excluded; such a group has to be viable all the same.
"""

from __future__ import annotations

from gpu_passthrough_plugin.compute.hook.states import States, listed
from gpu_passthrough_plugin.model.guard import (
    Answer,
    Group,
    Guest,
    Held,
    Ledger,
    Member,
)

# What typing calls the same takes longer to import than all the rest here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LIST = "see 'gpu-passthrough group list'"
_SYNC = "run 'gpu-passthrough inventory sync'"


class Rules:
    """What does not change from guest to guest.

    :param mode: which shape a unit has to be taken in: one of ``MODES``.
    :param is_selected: by ``[discovery] select``.
    :param is_excluded: by ``[discovery] exclude``.
    """

    __slots__ = ("is_excluded", "is_selected", "mode")

    def __init__(
        self,
        mode: str,
        is_selected: Callable[[Member], bool],
        is_excluded: Callable[[Member], bool],
    ) -> None:
        self.mode = mode
        self.is_selected = is_selected
        self.is_excluded = is_excluded


def answer(
    guest: Guest,
    groups: tuple[Group, ...],
    ledger: Ledger,
    rules: Rules,
    *,
    is_in_journal: bool = False,
    is_running: bool = False,
) -> Answer:
    """What is to be done so that the guest has its units, or why not.

    :param groups: every group that it takes a function of, read now.
    :param is_in_journal: whether ``instance boot`` or ``release`` is at
        it: the one takes units in its own shape, the other is waited for.
    :param is_running: whether it cannot be refused any more; then only
        whose its units are is looked at.
    """
    if is_in_journal:
        rules = Rules("any", rules.is_selected, rules.is_excluded)
    refusals: list[str] = []
    touched: dict[str, Held] = {}
    for group in groups:
        unit, faults = _unit(group, guest, ledger, rules)
        if unit is not None:
            touched[unit.key] = unit
        if unit is not None and not faults and not is_running:
            faults = tuple(_shape(guest, unit, group, rules.mode))
        if not faults and not is_running:
            faults = tuple(_viability(guest, group))
        refusals += () if is_running else faults
    states = States(guest.uuid, ledger, is_in_journal)
    for unit in touched.values():
        states.look(unit)
    states.look_at_the_rest(touched)
    refusals = states.refusals + refusals
    if refusals:
        return Answer(refusals=tuple(refusals))
    if states.waits_for:
        return Answer(waits_for=tuple(states.waits_for))
    return Answer(takes=tuple(states.takes), moves=tuple(states.moves))


def _unit(
    group: Group, guest: Guest, ledger: Ledger, rules: Rules
) -> tuple[Held | None, tuple[str, ...]]:
    """The unit that a group is, and what is wrong with either."""
    found = {m.address: m.ids for m in group.endpoints}
    owners = [
        unit
        for unit in ledger.units
        if not found.keys().isdisjoint(unit.functions)
    ]
    faults = _never(group, guest, rules)
    if not owners:
        if not faults:
            faults += _unpublished(group, rules)
        return None, tuple(faults)
    unit = owners[0]
    if len(owners) > 1 or unit.functions != found:
        faults.append(
            f"unit {unit.key} is no longer what was published of it: IOMMU"
            f" group {group.number} has {listed(found)}; {_SYNC}"
        )
    faults += [
        f"{m.address} does not answer (it reads all ones); power-cycle the"
        " host"
        for m in group.endpoints
        if m.is_dead
    ]
    return unit, tuple(faults)


def _never(group: Group, guest: Guest, rules: Rules) -> list[str]:
    """What no guest may have."""
    faults = [
        f"{m.address} is a bridge, which no guest can have"
        for m in group.members
        if m.is_bridge and m.address in guest.functions
    ]
    faults += [
        f"{m.address} of IOMMU group {group.number} is one that [discovery]"
        " exclude keeps from every guest"
        for m in group.members
        if rules.is_excluded(m)
    ]
    return faults


def _unpublished(group: Group, rules: Rules) -> list[str]:
    selected = [m.address for m in group.endpoints if rules.is_selected(m)]
    if not selected:
        return []
    return [
        f"{listed(selected)} of IOMMU group {group.number} is selected, and"
        f" in no unit of the ledger; {_LIST} for why it cannot be handed out,"
        f" or {_SYNC} when it can"
    ]


def _shape(guest: Guest, unit: Held, group: Group, mode: str) -> Iterator[str]:
    """What is wrong with which functions of a unit are taken."""
    taken = unit.functions.keys() & guest.functions.keys()
    missing = sorted(unit.functions.keys() - taken)
    if mode != "primary" and not missing:
        return
    companions = unit.functions.keys() - unit.primaries
    loose = [
        f"{m.address} is on {m.driver}"
        for m in group.endpoints
        if m.address in companions and not _is_reserved(m)
    ]
    is_bare = taken == unit.primaries
    if mode != "full" and is_bare and not loose:
        return
    found = f"it takes {listed(taken)} of IOMMU group {group.number}"
    if missing:
        found += f" without {listed(missing)}"
    if is_bare and loose:
        found += f", while {', '.join(loose)}"
    yield f"{found}; {_wanted(unit, companions, mode)}"


def _wanted(unit: Held, companions: set[str], mode: str) -> str:
    whole = f"a <hostdev> for each of {listed(unit.functions)}"
    bare = f"{listed(unit.primaries)} alone"
    if companions:
        bare += f" with {listed(companions)} on vfio-pci"
    if mode == "full" or (mode == "any" and not companions):
        return f"wanted {whole}"
    if mode == "primary":
        return f"wanted {bare} ([hook] mode = primary)"
    return f"wanted {whole}, or {bare}"


def _viability(guest: Guest, group: Group) -> Iterator[str]:
    """Who keeps the kernel from handing the group over.

    Source: kernel, drivers/vfio and drivers/iommu: every endpoint of a
    group has to be on a vfio driver, on pci-stub, or on none.
    """
    for member in group.endpoints:
        is_taken = member.address in guest.functions
        if is_taken and guest.functions[member.address]:
            continue
        if is_taken and not _is_vfio(member):
            yield (
                f"{member.address} is on {member.driver or 'no driver'}, and"
                " its device says that it is not managed; bind it to vfio-pci"
                " ('gpu-passthrough host enable'), or say managed='yes'"
            )
        elif not is_taken and not _is_reserved(member):
            yield (
                f"IOMMU group {group.number} is not viable: {member.address}"
                f" is on {member.driver}; bind it to vfio-pci"
                " ('gpu-passthrough host enable')"
            )


def _is_vfio(member: Member) -> bool:
    # Vendors' variants of vfio-pci have it in their names as well.
    return member.driver is not None and "vfio" in member.driver


def _is_reserved(member: Member) -> bool:
    return member.driver in (None, "pci-stub") or _is_vfio(member)


class Patterns:
    """What an operator selected or excluded, by ``model.selector``.

    :param patterns: what is looked at, ``ids``, ``class`` or ``address``,
        each with the regular expression that it has to match whole.
    """

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Iterable[tuple[str, str]]) -> None:
        self._patterns = tuple(patterns)

    def match(self, member: Member) -> bool:
        """Whether one of them names the function."""
        if not self._patterns:
            return False
        # Most guests have no need of it.
        import re

        shown = {
            "ids": member.ids,
            "class": member.class_code,
            "address": member.address,
        }
        return any(
            re.fullmatch(pattern, shown[kind])
            for kind, pattern in self._patterns
        )
