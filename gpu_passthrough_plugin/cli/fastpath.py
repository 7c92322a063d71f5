"""``device list`` and ``group list``: their rows, also without cliff.

Importing cliff takes longer than listing a host.  What is printed here is to
the letter what cliff prints.  Options that this module does not know, such as
``--sort-column``, and tables that have to fit a terminal are left to cliff.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from gpu_passthrough_plugin import defaults, errors
from gpu_passthrough_plugin.cli import findings, group_findings, output
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.discovery import function_resets
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.facts import boot_id as boot_id_of
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.selector import Enabled, SelectionState

Row = tuple[object, ...]

DEVICE = (
    "Address",
    "Class",
    "Vendor ID",
    "Product ID",
    "Name",
    "Driver",
    "IOMMU Group",
    "NUMA Node",
    "Reset Methods",
    "Selection",
)
GROUP = (
    "Group",
    "Primary",
    "Functions",
    "NUMA Node",
    "Assignable",
    "Reasons",
    "Selection",
)


def hexadecimal(value: int | Unknown, digits: int) -> str | Unknown:
    """Return an id as the kernel prints it."""
    return value if isinstance(value, Unknown) else f"{value:0{digits}x}"


def class_of(function: Function) -> str | Unknown:
    """Return base class and subclass, such as ``0300``."""
    code = function.class_code
    return code if isinstance(code, Unknown) else f"{code >> 8:04x}"


def devices(context: Context) -> Iterator[Row]:
    """Yield a row for every function of the host, by address."""
    tree = context.tree
    functions = discovery.functions(tree)
    states = host_snapshot.selection_states(
        tree, context.policy, functions, enablement(context)
    )
    for function in functions:
        yield (
            str(function.address),
            class_of(function),
            hexadecimal(function.vendor_id, 4),
            hexadecimal(function.product_id, 4),
            context.names.function(function),
            function.driver,
            function.iommu_group,
            function.numa_node,
            function_resets.reset_methods(tree, function),
            states[function.address].value,
        )


class GroupListing(NamedTuple):
    """Groups to list, by number.

    :param states: how far each of their members is on its way to guests.
    """

    groups: tuple[Group, ...]
    states: Mapping[Address, SelectionState]

    def rows(self) -> Iterator[Row]:
        """Yield a row for every group, under ``GROUP``."""
        return (group_row(group, self.states) for group in self.groups)

    def text(self, width: int | None) -> Iterator[str]:
        """Yield the lines for people."""
        return group_findings.text(self.groups, self.states, width)


def groups(context: Context, *, assignable_only: bool) -> GroupListing:
    """Return the groups of the host."""
    scope = Scope.PRIMARIES if assignable_only else Scope.LISTING
    snapshot = host_snapshot.read(context.tree, context.policy, scope)
    states = snapshot.selection_states(enablement(context))
    listed = tuple(
        group
        for group in snapshot.groups()
        if group.verdict.is_assignable or not assignable_only
    )
    return GroupListing(listed, states)


def enablement(context: Context) -> Enabled | None:
    """Return what ``host enable`` set up on this host; None if not known.

    Only root can read its journal.
    """
    if not context.is_here or os.geteuid():
        return None
    state_path = defaults.STATE_PATH
    if context.is_configured:
        state_path = context.settings.state_path
    folder = os.path.join(state_path, "enablement")
    if not os.path.exists(folder):
        return Enabled(frozenset(), is_this_boot=None)
    # Late: most of what is listed was never enabled.
    from gpu_passthrough_plugin.host.boot.journal import JournalStore

    try:
        history = JournalStore(folder).read()
    except errors.Error as error:
        say(f"what 'host enable' set up is not shown: {error}")
        return None
    if history is None:
        return Enabled(frozenset(), is_this_boot=None)
    boot_id, before = boot_id_of(context.tree), history.enablement.boot_id
    is_known = bool(before) and isinstance(boot_id, str)
    return Enabled(
        frozenset(target.address for target in history.enablement.targets),
        is_this_boot=boot_id == before if is_known else None,
    )


def group_row(group: Group, states: Mapping[Address, SelectionState]) -> Row:
    """Return the row of one group.

    :param states: of its members, at least.
    """
    first = (group.primaries or group.members)[0].function
    return (
        group.number,
        tuple(str(m.address) for m in group.primaries),
        tuple(str(m.address) for m in group.members),
        first.numa_node,
        group.verdict.is_assignable,
        tuple(reason.text for reason in group.verdict.reasons),
        SelectionState.least(states[m.address] for m in group.members).value,
    )


_GLOBAL = frozenset({"--root", "--recording", "--config-file"})
# Each of these makes cliff fit a table to a width.
_WIDTHS = ("CLIFF_FIT_WIDTH", "CLIFF_MAX_TERM_WIDTH")


class Call(NamedTuple):
    """A command line that this module can answer."""

    context: Context
    verb: tuple[str, ...]
    form: str


def parse(words: list[str]) -> Call | None:
    """Return the call, or None if only cliff can answer it."""
    options: dict[str, list[str]] = {name: [] for name in _GLOBAL}
    rest = list(words)
    while rest and rest[0] in _GLOBAL:
        if len(rest) < 2:
            return None
        options[rest[0]].append(rest[1])
        del rest[:2]
    verb, form = _verb(rest)
    given = [value for values in options.values() for value in values]
    is_wrong = len(options["--recording"]) > bool(not options["--root"])
    if is_wrong or not all(map(str.strip, given)):
        return None  # the command itself says why
    is_text = form == findings.TEXT and verb != _DEVICES
    if verb not in _FORM_OF or not (is_text or form in _FORMS):
        return None
    context = Context(
        (options["--root"] or ["/"])[-1],
        options["--recording"][-1] if options["--recording"] else None,
        options["--config-file"],
    )
    return Call(context, verb, form)


def _verb(rest: list[str]) -> tuple[tuple[str, ...], str]:
    for name in ("-f", "--format"):
        if name in rest[2:-1]:
            at = rest.index(name)
            return (*rest[:at], *rest[at + 2 :]), rest[at + 1]
    return tuple(rest), _FORM_OF.get(tuple(rest), "table")


def needs_cliff(call: Call) -> bool:
    """Return whether a table has to fit a terminal."""
    return call.form == "table" and (
        sys.stdout.isatty() or any(name in os.environ for name in _WIDTHS)
    )


def run(call: Call, *, is_own_process: bool = False) -> int:
    """Print the listing; return the exit status.

    :param is_own_process: whether it may give up capabilities for good.
    """
    # A listing leaves no garbage cycles worth collecting, and the process
    # ends then; collection takes a sixth of the time.
    gc.disable()

    def act() -> int:
        if is_own_process:
            call.context.confine(reads_only=True)
        if call.verb == _DEVICES:
            _FORMS[call.form](DEVICE, devices(call.context))
            return 0
        listing = groups(
            call.context, assignable_only=call.verb == _ASSIGNABLE
        )
        if call.form == findings.TEXT:
            width = findings.terminal_width()
            sys.stdout.writelines(f"{li}\n" for li in listing.text(width))
        elif call.form == "json":
            rows = (
                (*row, tuple(d.plain() for d in group_findings.diagnoses(g)))
                for g, row in zip(listing.groups, listing.rows(), strict=True)
            )
            _json((*GROUP, findings.COLUMN), rows)
        else:
            _FORMS[call.form](GROUP, listing.rows())
        return 0

    return output.run(act)


_DEVICES = ("device", "list")
_ASSIGNABLE = ("group", "list", "--assignable")
# What is printed of each if no format is named.
_FORM_OF = {
    _DEVICES: "table",
    ("group", "list"): findings.TEXT,
    _ASSIGNABLE: findings.TEXT,
}


def _json(names: tuple[str, ...], rows: Iterable[Row]) -> None:
    import json

    items = [
        dict(zip(names, map(output.plain, row), strict=True)) for row in rows
    ]
    sys.stdout.write(f"{json.dumps(items, indent=2)}\n")


def _value(names: tuple[str, ...], rows: Iterable[Row]) -> None:
    lines = [f"{' '.join(map(output.flat, row))}\n" for row in rows]
    sys.stdout.write("".join(lines))


def _table(names: tuple[str, ...], rows: Iterable[Row]) -> None:
    """Print a table as PrettyTable draws it; an empty line without rows."""
    body = [[output.lines(value) for value in row] for row in rows]
    if not body:
        sys.stdout.write("\n")
        return
    widths = [
        max(len(name), max(max(map(len, row[at])) for row in body))
        for at, name in enumerate(names)
    ]
    form = "| " + " | ".join(f"%-{width}s" for width in widths) + " |"
    line = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    drawn = [line, form % names, line]
    for row in body:
        drawn += _drawn(row, form)
    sys.stdout.write("\n".join((*drawn, line, "")))


def _drawn(row: list[list[str]], form: str) -> Iterator[str]:
    height = max(map(len, row))
    if height == 1:
        yield form % tuple([cell[0] for cell in row])
        return
    for number in range(height):
        yield form % tuple(
            cell[number] if number < len(cell) else "" for cell in row
        )


_FORMS: dict[str, Callable[[tuple[str, ...], Iterable[Row]], None]] = {
    "table": _table,
    "json": _json,
    "value": _value,
}
