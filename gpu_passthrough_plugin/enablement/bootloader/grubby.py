"""grubby, which edits loader entries on RHEL from 8 on and Fedora.

Source: grubby(8); Fedora, grubby-bls (update_bls_fragment, update_args).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader import (
    grub2,
    kernel_cmdline_file,
)
from gpu_passthrough_plugin.enablement.driver import (
    STEP_ARGUMENTS,
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import (
    grub_defaults,
    grub_menu,
    kernel_cmdline,
    kernel_cmdline_edit,
    loader_entries,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.formats.kernel_cmdline_edit import Difference
from gpu_passthrough_plugin.formats.loader_entries import LoaderEntry
from gpu_passthrough_plugin.model.change import Change, Run
from gpu_passthrough_plugin.model.installation import Installation, Reads

_TOOL = "grubby"
_GRUBENV = "/boot/grub2/grubenv"
_KERNELOPTS = "kernelopts"
_FOLDER = "/boot/loader/entries"

# The words of each line that grubby edits, by entry or variable.
Lines = Mapping[str, Sequence[str]]


class SourceChanges(NamedTuple):
    """Changes of what new entries are made from, and notes."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


class Grubby(BootloaderDriver):
    """One call changes every entry, and files that new ones are made from."""

    name = "grubby"
    precedence = 50
    reads = (
        kernel_cmdline_file.READS
        | grub_defaults.READS
        | loader_entries.READS
        | Reads(files=(_GRUBENV,), tools=(_TOOL,))
    )

    def claims(self, installation: Installation) -> str | None:
        tool = installation.tools.get(_TOOL)
        if tool is None or not _entry_paths(installation):
            return None
        return f"{tool} and {_FOLDER} exist"

    def configured(self, installation: Installation) -> ConfiguredArguments:
        variables = _environment(installation)
        sources = {}
        if kernel_cmdline_file.PATH in installation.files:
            sources[kernel_cmdline_file.PATH] = kernel_cmdline_file.arguments(
                installation
            )
        if variables.get(_KERNELOPTS):
            sources[f"{_GRUBENV} {_KERNELOPTS}"] = kernel_cmdline.split(
                variables[_KERNELOPTS]
            )
        return ConfiguredArguments(
            sources,
            {
                entry.path: _expanded(entry.arguments, variables)
                for entry in _entries(installation)
            },
        )

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        variables = _environment(installation)
        entries = _entries(installation)
        _refuse_out_of_reach(entries, variables, requirements)
        sources = _edit_sources(installation, requirements)
        before = _lines(entries, variables)
        edited = {
            key: kernel_cmdline_edit.edit_words(words, requirements)
            for key, words in before.items()
        }
        after = {key: line.words for key, line in edited.items()}
        due = _difference(before, after)
        # What is in effect already is in the command that is shown as kept.
        shown = due or Difference(
            kernel_cmdline.missing((), requirements), requirements.forbidden
        )
        tool = installation.tools[_TOOL]
        run = Run(
            STEP_ARGUMENTS,
            _argv(tool, shown),
            _touched(installation),
            _undo_argv(tool, before, after),
            bool(due),
        )
        notes = (note for line in edited.values() for note in line.notes)
        return BootloaderPlan(
            (*sources.changes, run),
            tuple(dict.fromkeys((*sources.notes, *notes))),
        )


def _refuse_out_of_reach(
    entries: Sequence[LoaderEntry],
    variables: Mapping[str, str],
    requirements: Requirements,
) -> None:
    """Raise if a wrong argument stands where grubby does not edit.

    :raises Refused: naming the place and the arguments.
    """
    for entry in entries:
        for place, words in _out_of_reach(entry, variables):
            edited = kernel_cmdline_edit.edit_words(words, requirements)
            wrong = set(words) - set(edited.words)
            if wrong:
                raise errors.Refused(
                    f"{place} says {' '.join(sorted(wrong))}, and grubby does"
                    " not edit that: remove it there, then run this again"
                )


def _out_of_reach(
    entry: LoaderEntry, variables: Mapping[str, str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what grubby does not edit of an entry and of its variables.

    :raises Refused: when a variable of the entry is not set: grubby would
        set it to the new arguments alone, without ``root=``.
    """
    kernelopts = f"${_KERNELOPTS}"
    if kernelopts in entry.arguments:
        if not variables.get(_KERNELOPTS):
            raise errors.Refused(
                f"{entry.path} takes its arguments from {_KERNELOPTS}, and"
                f" {_GRUBENV} does not set that: run 'grub2-mkconfig -o' for"
                " the menu that GRUB reads, then run this again"
            )
        yield entry.path, entry.arguments
    for word in entry.arguments:
        name = word.removeprefix("$")
        if word != kernelopts and name != word and name in variables:
            yield f"{_GRUBENV} {name}", kernel_cmdline.split(variables[name])


def _edit_sources(
    installation: Installation, requirements: Requirements
) -> SourceChanges:
    """Return the changes of the files that new entries are made from.

    Some versions of grubby do not edit these.
    """
    changes: list[Change] = []
    notes: list[str] = []
    if kernel_cmdline_file.PATH in installation.files:
        file = kernel_cmdline_file.edit(installation, requirements)
        changes.append(file.change)
        notes += file.notes
    if grub_defaults.PATH in installation.files:
        try:
            defaults = grub2.edit_defaults(installation, requirements)
        except errors.Refused as error:
            # The entries decide, so that this is no more than a note.
            notes.append(str(error))
        else:
            changes += defaults.changes
            notes += defaults.notes
    return SourceChanges(tuple(changes), tuple(notes))


def _entry_paths(installation: Installation) -> tuple[str, ...]:
    return installation.paths(_FOLDER, loader_entries.SUFFIX)


def _entries(installation: Installation) -> tuple[LoaderEntry, ...]:
    """Return entries that grubby edits: none of an EFI system partition."""
    return tuple(
        entry
        for entry in loader_entries.entries(installation)
        if entry.path.startswith(_FOLDER)
    )


def _touched(installation: Installation) -> tuple[str, ...]:
    return (
        *_entry_paths(installation),
        installation.real(_GRUBENV),
        installation.real(grub_defaults.PATH),
        kernel_cmdline_file.PATH,
    )


def _environment(installation: Installation) -> Mapping[str, str]:
    return grub_menu.environment(installation.text(_GRUBENV) or "")


def _expanded(
    words: Sequence[str], variables: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the words with those of variables in the place of these."""
    expanded: list[str] = []
    for word in words:
        name = word.removeprefix("$")
        is_variable = name != word and name in variables
        expanded += (
            kernel_cmdline.split(variables[name]) if is_variable else (word,)
        )
    return tuple(expanded)


def _lines(
    entries: Sequence[LoaderEntry], variables: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return every line of words that grubby edits."""
    kernelopts = kernel_cmdline.split(variables.get(_KERNELOPTS, ""))
    lines = {_KERNELOPTS: kernelopts} if variables.get(_KERNELOPTS) else {}
    return lines | {
        entry.path: entry.arguments
        for entry in entries
        if f"${_KERNELOPTS}" not in entry.arguments
    }


def _argv(tool: str, due: Difference) -> tuple[str, ...]:
    """Return the call that changes all entries."""
    options = [f"--args={' '.join(due.added)}"] if due.added else []
    if due.removed:
        options.append(f"--remove-args={' '.join(due.removed)}")
    return (tool, "--update-kernel=ALL", *options)


def _undo_argv(tool: str, before: Lines, after: Lines) -> tuple[str, ...]:
    """Return the call that undoes it; () where none does, or need be."""
    try:
        due = _difference(after, before)
    except errors.Refused:
        return ()
    return _argv(tool, due) if due else ()


def _difference(before: Lines, after: Lines) -> Difference:
    """Return the words that grubby has to add and remove in one call.

    grubby replaces all words of a name by the word that it adds, so that
    others of that name have to be named as well.

    :raises Refused: when no one call does it for all lines.
    """
    differences = [
        kernel_cmdline_edit.difference(before[key], after[key])
        for key in before
    ]
    removed = _union([difference.removed for difference in differences])
    names = {_name(word) for d in differences for word in d.added}
    added = _union(
        [
            [word for word in words if _name(word) in names]
            for words in after.values()
        ]
    )
    due = Difference(added, removed)
    for key, words in before.items():
        if Counter(_edited_by_grubby(words, due)) != Counter(after[key]):
            raise errors.Refused(
                f"{key} differs from other entries in"
                f" {', '.join(sorted(names | set(removed)))}, and one call of"
                " grubby cannot change them all: make them agree with"
                " grubby, then run this again"
            )
    return due


def _edited_by_grubby(
    words: Sequence[str], due: Difference
) -> tuple[str, ...]:
    """Return what grubby makes of a line."""
    names = {_name(word) for word in due.added}
    left = list(words)
    for word in due.removed:
        if word in left:
            left.remove(word)
    return (*(word for word in left if _name(word) not in names), *due.added)


def _name(word: str) -> str:
    """Return what grubby takes for the name: all before the last ``=``."""
    return word.rpartition("=")[0] or word


def _union(lines: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return each word as often as the line that has it most often has."""
    most: Counter[str] = Counter()
    for line in lines:
        most |= Counter(line)
    order = dict.fromkeys(word for line in lines for word in line)
    return tuple(word for word in order for _ in range(most[word]))
