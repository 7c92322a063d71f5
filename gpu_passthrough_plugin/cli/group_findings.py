"""``group list`` as a text: what can be assigned, and what is against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gpu_passthrough_plugin.cli import findings
from gpu_passthrough_plugin.cli.findings import Diagnosis
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.advice import Confidence, fix
from gpu_passthrough_plugin.model.group import NO_PRIMARY, Group
from gpu_passthrough_plugin.model.reading import Unknown, shown
from gpu_passthrough_plugin.model.selector import SelectionState


def diagnoses(group: Group) -> tuple[Diagnosis, ...]:
    """Return why a group cannot be assigned: a finding for each reason."""
    members = tuple(str(m.address) for m in group.members)
    numbers = () if group.number is None else (group.number,)
    return tuple(
        Diagnosis(
            reason.rule,
            Confidence.POSSIBLE
            if "unknown" in reason.text
            else Confidence.CERTAIN,
            reason.text,
            findings.addresses_in(reason.text) or members,
            (reason.text,),
            fix(reason.remedy),
            numbers,
        )
        for reason in group.verdict.reasons
    )


def text(
    groups: Iterable[Group],
    states: Mapping[Address, SelectionState],
    width: int | None,
) -> Iterator[str]:
    """Yield the lines for people.

    Groups of which nothing is selected come last: they are no fault.

    :param states: of every member.
    :param width: of the terminal; None where there is none.
    """
    listed = tuple(groups)
    good = [g for g in listed if g.verdict.is_assignable]
    number = sum(g.number is not None for g in listed)
    more = f" of {number}" if number > len(good) else ""
    yield (
        f"{len(good)}{more} IOMMU group{'s' * (number != 1)} can be assigned"
    )
    for group in good:
        start = f"  {_place(group):<10}"
        yield from findings.wrapped(start, _summary(group, states), width)
    against = [[*diagnoses(g)] for g in listed if not g.verdict.is_assignable]
    blocks = findings.blocks(against)
    blocks.sort(key=lambda b: b.first.name == NO_PRIMARY)
    for number, block in enumerate(blocks, 1):
        yield ""
        yield from findings.lines(block, number, width)


def _place(group: Group) -> str:
    return "no group" if group.number is None else f"group {group.number}"


def _summary(group: Group, states: Mapping[Address, SelectionState]) -> str:
    addresses = findings.compact(str(m.address) for m in group.members)
    node = (group.primaries or group.members)[0].function.numa_node
    place = "" if node is None else f", NUMA node {shown(node)}"
    if isinstance(node, Unknown):
        place = f", NUMA node {node}"
    state = SelectionState.least(states[m.address] for m in group.members)
    return f"{addresses}: {state.value}{place}"
