"""Which functions of a host an operator selected for guests.

``host enable --select`` remembers its selection in a file of the host.  That
file has oslo.config's syntax, and overrides ``[discovery] select``.  An
operator may edit it: what else it holds stays as it is.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.isolation.partition import (
    Part,
    Policy,
    predicted_parts,
)
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Role
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from gpu_passthrough_plugin.model.selector import (
    Enabled,
    SelectionState,
    Selector,
    SelectorKind,
)

PATH = "/etc/gpu-passthrough/selection.conf"
MAX_BYTES = 1 << 16
# More than any host has cards; each is compared with every function.
MAX_SELECTORS = 1024

_GROUP, _OPTION = "discovery", "select"
_HEADER = """\
# What guests may be given of this host's PCI functions.
#
# Written by 'gpu-passthrough host enable' with --select, --deselect or --only,
# and read by every gpu-passthrough command. It overrides [discovery] select of
# gpu-passthrough.conf. It may be edited: run 'gpu-passthrough host enable'
# then. 'gpu-passthrough host disable' removes it, unless it was edited.
"""


class Source(enum.Enum):
    """What a host's selection comes from."""

    FILE = PATH
    CONFIGURATION = "[discovery] select"
    DEFAULT = "the default of [discovery] select"


class HostSelection(NamedTuple):
    """The one selection of a host.

    :param contents: of the host's file; None where there is none.
    """

    selectors: tuple[Selector, ...]
    source: Source
    contents: bytes | None = None


def chosen(
    contents: bytes | Unknown,
    name: str,
    configured: tuple[Selector, ...],
    *,
    is_configured: bool,
) -> HostSelection:
    """Return a host's selection: that of its file, or the configured one.

    :param contents: of the file, at most ``MAX_BYTES`` and one.
    :param name: of the file, in errors.
    :param configured: ``[discovery] select``, or its default.
    :param is_configured: whether a configuration file sets that option.
    :raises Faults: with each fault of the file.
    :raises ReadFailed: when it exists and cannot be read.
    """
    source = Source.CONFIGURATION if is_configured else Source.DEFAULT
    if contents is MISSING:
        return HostSelection(configured, source)
    if isinstance(contents, Unknown):
        raise errors.ReadFailed(
            f"{name} cannot be read ({contents.detail or contents}); expected"
            " the selection of this host: make it readable"
        )
    remembered = parse(contents, name)
    if remembered is None:
        return HostSelection(configured, source, contents)
    return HostSelection(remembered, Source.FILE, contents)


def parse(contents: bytes, name: str = PATH) -> tuple[Selector, ...] | None:
    """Return the selectors in a selection file; None if it sets none.

    :param name: of the file, in errors.
    :raises Faults: with each fault.
    """
    value = _value(contents, name)
    return None if value is None else value.selectors


class _FileValue(NamedTuple):
    """What the file gives the option, and the number of its first line."""

    selectors: tuple[Selector, ...]
    line: int


def _value(contents: bytes, name: str) -> _FileValue | None:
    # Late: most listings are of hosts that have no such file.
    from gpu_passthrough_plugin.formats import oslo_config_file

    if len(contents) > MAX_BYTES:
        raise errors.Faults((f"{name}: larger than {MAX_BYTES} bytes",))
    faults: list[str] = []
    values = []
    for value in oslo_config_file.read(name, contents, faults):
        if (value.section, value.option) == (_GROUP, _OPTION):
            values.append(value)
        else:
            faults.append(
                f"{value.place}: [{value.section}] {value.option} is not an"
                f" option of this file; expected only [{_GROUP}] {_OPTION}"
            )
    if len(values) > 1:
        faults.append(
            f"{values[1].place}: [{_GROUP}] {_OPTION} is set {len(values)}"
            " times; expected one line, with commas between the values"
        )
    selectors: tuple[Selector, ...] = ()
    if values:
        texts = oslo_config_file.names(values[0].text)
        selectors = tuple(_selectors(texts, values[0].place, faults))
    if faults:
        raise errors.Faults(tuple(faults))
    if not values:
        return None
    return _FileValue(selectors, int(values[0].place.rpartition(":")[2]))


def _selectors(
    texts: Sequence[str], place: str, faults: list[str]
) -> Iterator[Selector]:
    if len(texts) > MAX_SELECTORS:
        faults.append(
            f"{place}: {len(texts)} selectors; expected at most"
            f" {MAX_SELECTORS}"
        )
        return
    for text in texts:
        try:
            yield selector.parse(text)
        except errors.Invalid as error:
            faults.append(f"{place}: {error}")


def written(contents: bytes | None, selectors: tuple[Selector, ...]) -> bytes:
    """Return a selection file that sets these selectors.

    Comments in it stay; a file that sets them already stays as it is.

    :param contents: of the present file, which is valid; None for no file.
    :raises Faults: when the file would be too large, or have too many.
    """
    value = None if contents is None else _value(contents, PATH)
    if value is not None and value.selectors == selectors:
        return contents or b""
    option = f"{_OPTION} = " + ",\n    ".join(s.text for s in selectors)
    if contents is None:
        lines = [*_HEADER.splitlines(), f"[{_GROUP}]", option]
    else:
        text = contents.decode().replace("\r\n", "\n").replace("\r", "\n")
        lines = _with_option(text.rstrip("\n").split("\n"), value, option)
    becomes = "\n".join((*lines, "")).encode()
    if parse(becomes) != selectors:
        raise errors.Refused(
            f"{PATH} cannot be given other selectors by this program; set"
            f" [{_GROUP}] {_OPTION} in it to"
            f" {','.join(s.text for s in selectors)}"
        )
    return becomes


def _with_option(
    lines: list[str], value: _FileValue | None, option: str
) -> list[str]:
    """Return the lines with the option in place of its present value."""
    if value is not None:
        end = value.line
        while (
            end < len(lines) and lines[end].strip() and lines[end][0] in " \t"
        ):
            end += 1
        return [*lines[: value.line - 1], option, *lines[end:]]
    for number, line in enumerate(lines, 1):
        if line.rstrip().lower() == f"[{_GROUP}]":
            return [*lines[:number], option, *lines[number:]]
    return [*lines, f"[{_GROUP}]", option]


class Amendment(NamedTuple):
    """A selection after selectors were added to it and taken from it.

    :param notes: lines for the operator.
    """

    selectors: tuple[Selector, ...]
    notes: tuple[str, ...] = ()


def amended(
    base: Iterable[Selector],
    added: Iterable[Selector],
    removed: Sequence[Selector],
    functions: Sequence[Function],
) -> Amendment:
    """Return a selection with some selectors added, and others removed.

    A selector that is equal to a removed one goes.  One that selects a
    function which a removed one matches becomes the addresses of all others
    that it selects now.

    :param functions: of the host.
    :raises Refused: when a removed selector matches nothing that is selected,
        or nothing would be left.
    """
    selectors: dict[tuple[str, str], Selector] = {}
    for each in (*base, *added):
        selectors.setdefault(_key(each), each)
    if not removed:
        return Amendment(tuple(selectors.values()))
    _require_selected(tuple(selectors.values()), removed, functions)
    result: dict[tuple[str, str], Selector] = {}
    notes = []
    keys = set(map(_key, removed))
    for key, present in selectors.items():
        if key in keys:
            continue
        own = _primaries((present,), functions)
        rest = [f for f in own if not any(r.matches(f) for r in removed)]
        if len(rest) == len(own):
            result[key] = present
            continue
        addresses = [selector.parse(str(f.address)) for f in rest]
        result |= {_key(address): address for address in addresses}
        if addresses:
            listed = ", ".join(address.text for address in addresses)
            notes.append(
                f"{present.text} in the selection becomes what else it selects"
                f" now: {listed}; a device that is added to this host later is"
                " not selected by it"
            )
    left = tuple(result.values())
    if not _primaries(left, functions):
        raise errors.Refused(
            f"--deselect {','.join(r.text for r in removed)} leaves nothing"
            " selected; run 'gpu-passthrough host disable' to give the host"
            " everything back"
        )
    return Amendment(left, tuple(notes))


def _require_selected(
    selectors: tuple[Selector, ...],
    removed: Iterable[Selector],
    functions: Sequence[Function],
) -> None:
    keys = set(map(_key, selectors))
    primaries = _primaries(selectors, functions)
    faults = [
        f"--deselect {each.text} matches nothing that is selected; selected"
        f" are: {', '.join(s.text for s in selectors) or 'no functions'}"
        for each in removed
        if _key(each) not in keys
        and not any(each.matches(function) for function in primaries)
    ]
    if faults:
        raise errors.Refused("; ".join(faults))


def unmatched(
    selectors: Iterable[Selector], functions: Sequence[Function]
) -> tuple[Selector, ...]:
    """Return the selectors of ids and addresses that match no function.

    A class stands for what may come, too.
    """
    return tuple(
        s
        for s in selectors
        if s.kind is not SelectorKind.CLASS
        and not any(s.matches(function) for function in functions)
    )


def _primaries(
    selectors: tuple[Selector, ...], functions: Sequence[Function]
) -> list[Function]:
    policy = Policy(selectors)
    return [f for f in functions if policy.is_primary(f)]


def _key(item: Selector) -> tuple[str, str]:
    return item.kind, item.pattern.pattern


def state(
    address: Address,
    selected: frozenset[Address],
    enabled: Enabled | None,
    is_on_vfio: bool | Unknown,
) -> SelectionState:
    """Return how far a function is; never more than what is known.

    :param selected: all that is selected, as ``selected_addresses`` has it.
    :param enabled: None where it is not known.
    """
    if address not in selected:
        return SelectionState.NOT_SELECTED
    if is_on_vfio is True:
        return SelectionState.ACTIVE
    is_known = enabled is not None and address in enabled.addresses
    if enabled is None or not is_known or is_on_vfio is not False:
        return SelectionState.SELECTED
    if enabled.is_this_boot is None:
        return SelectionState.SELECTED
    if enabled.is_this_boot:
        return SelectionState.PENDING
    return SelectionState.UNBOUND


def selected_addresses(
    parts: Sequence[Part], policy: Policy
) -> frozenset[Address]:
    """Return the selected functions, and what goes to a guest with them.

    That is what else is on their cards and in their groups.  An excluded
    function goes nowhere.

    :param parts: all groups of the host under this policy.
    """
    selected: set[Address] = set()
    for part in predicted_parts(parts):
        assigned = [m for m in part.members if m.role.is_assigned]
        chosen = {m.card for m in assigned if m.role is Role.PRIMARY}
        selected.update(
            m.address
            for m in assigned
            if (m.role is Role.PRIMARY or m.card in chosen)
            and not policy.is_excluded(m.function)
        )
    return frozenset(selected)
