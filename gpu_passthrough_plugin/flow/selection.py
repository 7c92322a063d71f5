"""What ``host enable`` makes of the one selection of a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.isolation import selection
from gpu_passthrough_plugin.isolation.selection import HostSelection, Source
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.change import Write
from gpu_passthrough_plugin.model.change_history import History
from gpu_passthrough_plugin.model.selector import Selector


class SelectionPlan(NamedTuple):
    """A host's selection as it should be from now on.

    :param required: selectors that were named just now: each has to match a
        group that can be assigned.
    :param write: what remembers the selection; None where no file does.
    :param notes: lines for the operator.
    """

    selectors: tuple[Selector, ...]
    required: tuple[Selector, ...]
    write: Write | None
    notes: tuple[str, ...]


def plan(
    tree: Tree,
    present: HostSelection,
    history: History | None,
    selected: Sequence[str],
    deselected: Sequence[str],
    *,
    is_only: bool,
) -> SelectionPlan:
    """Return the selection after the options of one ``host enable``.

    Without options it is the present one, and no file is written.

    :param history: of the host's boot.
    :param selected: selectors to add, as they were typed.
    :param deselected: selectors to remove.
    :param is_only: whether those that are added replace the present ones.
    :raises Refused: when nothing would be left, a selector to be removed
        matches nothing, or the file would have too many.
    """
    added = tuple(map(selector.parse, selected))
    functions = discovery.functions(tree)
    keeps = not is_only and _is_base(present, history, is_adding=bool(added))
    amendment = selection.amended(
        present.selectors if keeps else (),
        added,
        tuple(map(selector.parse, deselected)),
        functions,
    )
    contents = present.contents
    if selected or deselected:
        contents = selection.written(contents, amendment.selectors)
    is_remembered = present.source is Source.FILE and keeps
    remembered = set(present.selectors if is_remembered else ()) - set(added)
    notes = [
        f"{each.text} in {selection.PATH} selects no function of this host now"
        for each in selection.unmatched(amendment.selectors, functions)
        if each in remembered
    ]
    return SelectionPlan(
        amendment.selectors,
        added,
        None
        if contents is None
        else Write(
            own_files.SELECTION_STEP,
            selection.PATH,
            present.contents,
            contents,
        ),
        (*amendment.notes, *notes),
    )


def _is_base(
    present: HostSelection, history: History | None, *, is_adding: bool
) -> bool:
    """Return whether selectors are added to the present selection.

    The first ones that an operator names are all that is selected, instead
    of every card; unless the host was enabled for these.
    """
    return (
        present.source is not Source.DEFAULT
        or not is_adding
        or any(
            record.is_done and record.step != own_files.SELECTION_STEP
            for record in (history.records if history else ())
        )
    )
