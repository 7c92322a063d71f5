"""grubby, for loader entries as RHEL from 8 on and Fedora have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader import (
    grub_config,
    kernel_cmdline_file,
)
from gpu_passthrough_plugin.enablement.driver import (
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
from gpu_passthrough_plugin.model.change import Change, Run
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

_TOOL = "grubby"
_GRUBENV = "/boot/grub2/grubenv"
_SHARED = "kernelopts"
_FOLDER = "/boot/loader/entries"


class Grubby(BootloaderDriver):
    """Every entry is told at once, and so is what new ones are made from.

    Source: grubby(8); Fedora, grubby-bls (update_bls_fragment).
    """

    name = "grubby"
    precedence = 50
    reads = (
        kernel_cmdline_file.READS
        | grub_defaults.READS
        | loader_entries.READS
        | Reads(files=(_GRUBENV,), tools=(_TOOL,))
    )

    def claims(self, installation: Installation) -> str | None:
        if _TOOL in installation.tools and installation.paths(
            _FOLDER, ".conf"
        ):
            return f"{installation.tools[_TOOL]} and {_FOLDER} are there"
        return None

    def configured(self, installation: Installation) -> ConfiguredArguments:
        sources = {}
        if kernel_cmdline_file.PATH in installation.files:
            sources[kernel_cmdline_file.PATH] = kernel_cmdline_file.said(
                installation
            )
        shared = _environment(installation).get(_SHARED)
        if shared:
            sources[f"{_GRUBENV} {_SHARED}"] = kernel_cmdline.split(shared)
        return ConfiguredArguments(sources, _entries(installation))

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        _refuse_what_grubby_leaves(installation, requirements)
        changes, notes = _sources(installation, requirements)
        lines = _lines(installation)
        right = {
            k: kernel_cmdline_edit.edit_words(line, requirements)
            for k, line in lines.items()
        }
        after = {k: r.words for k, r in right.items()}
        due = _difference(lines, after)
        tool = installation.tools[_TOOL]
        shown = due or kernel_cmdline_edit.Difference(
            kernel_cmdline.missing((), requirements), requirements.forbidden
        )
        run = Run(
            grub_config.ARGUMENTS,
            _argv(tool, shown),
            _touched(installation),
            _undo(tool, lines, after),
            bool(due),
        )
        noted = (*notes, *(n for r in right.values() for n in r.notes))
        return BootloaderPlan((*changes, run), tuple(dict.fromkeys(noted)))


def _refuse_what_grubby_leaves(
    installation: Installation, requirements: Requirements
) -> None:
    """Nothing, where grubby reaches all that the entries say.

    :raises Refused: when it does not.
    """
    for entry in _own(installation):
        for place, line in _beyond(entry, _environment(installation)):
            right = kernel_cmdline_edit.edit_words(line, requirements)
            wrong = set(line) - set(right.words)
            if wrong:
                raise errors.Refused(
                    f"{place} says {' '.join(sorted(wrong))}, which grubby"
                    " does not edit; wanted it without that: take it out"
                    " there, and run this again"
                )


def _beyond(
    entry: loader_entries.LoaderEntry, variables: Mapping[str, str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Words of an entry, and of what it takes in, that grubby leaves.

    :raises Refused: when the entry takes in what is not there: grubby
        would set it to what it adds and nothing else, without ``root=``.
    """
    shared = f"${_SHARED}"
    if shared in entry.arguments:
        if not variables.get(_SHARED):
            raise errors.Refused(
                f"{entry.path} takes its arguments from {_SHARED}, which"
                f" {_GRUBENV} does not have; wanted them there: run"
                " 'grub2-mkconfig -o' for the menu that GRUB reads, and run"
                " this again"
            )
        yield entry.path, entry.arguments
    for word in entry.arguments:
        name = word.removeprefix("$")
        if word != shared and name != word and name in variables:
            yield f"{_GRUBENV} {name}", kernel_cmdline.split(variables[name])


def _sources(
    installation: Installation, requirements: Requirements
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """What new entries and a new environment block are made from.

    Not every grubby sees to these.
    """
    changes: list[Change] = []
    notes: list[str] = []
    if kernel_cmdline_file.PATH in installation.files:
        change, said = kernel_cmdline_file.write(installation, requirements)
        changes.append(change)
        notes += said
    if grub_defaults.PATH in installation.files:
        try:
            edited = grub_config.edited(installation, requirements)
        except errors.Refused as error:
            # The entries are what counts: this is said, and left alone.
            notes.append(str(error))
        else:
            changes += edited.changes
            notes += edited.notes
    return tuple(changes), tuple(notes)


def _own(installation: Installation) -> tuple[loader_entries.LoaderEntry, ...]:
    """Entries that grubby edits: not those of an EFI system partition."""
    return tuple(
        entry
        for entry in loader_entries.entries(installation)
        if entry.path.startswith(_FOLDER)
    )


def _touched(installation: Installation) -> tuple[str, ...]:
    return (
        *installation.paths(_FOLDER, ".conf"),
        installation.real(_GRUBENV),
        installation.real(grub_defaults.PATH),
        kernel_cmdline_file.PATH,
    )


def _environment(installation: Installation) -> Mapping[str, str]:
    return grub_menu.environment(installation.text(_GRUBENV) or "")


def _entries(installation: Installation) -> dict[str, tuple[str, ...]]:
    """What each entry says, with what it takes from the environment."""
    variables = _environment(installation)
    return {
        entry.path: tuple(
            part
            for word in entry.arguments
            for part in _expanded(word, variables)
        )
        for entry in _own(installation)
    }


def _expanded(word: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    name = word.removeprefix("$")
    if name == word or name not in variables:
        return (word,)
    return kernel_cmdline.split(variables[name])


def _lines(installation: Installation) -> dict[str, tuple[str, ...]]:
    """Every line of words that grubby edits."""
    shared = _environment(installation).get(_SHARED, "")
    lines = {_SHARED: kernel_cmdline.split(shared)} if shared else {}
    return lines | {
        entry.path: entry.arguments
        for entry in _own(installation)
        if f"${_SHARED}" not in entry.arguments
    }


_Lines = Mapping[str, Sequence[str]]


def _argv(tool: str, due: kernel_cmdline_edit.Difference) -> tuple[str, ...]:
    """The call, for all entries."""
    options = [f"--args={' '.join(due.added)}"] if due.added else []
    if due.removed:
        options.append(f"--remove-args={' '.join(due.removed)}")
    return (tool, "--update-kernel=ALL", *options)


def _undo(tool: str, before: _Lines, after: _Lines) -> tuple[str, ...]:
    """The call that takes it back; empty when no one call does, or need be."""
    try:
        due = _difference(after, before)
    except errors.Refused:
        return ()
    return _argv(tool, due) if due else ()


def _difference(
    before: _Lines, after: _Lines
) -> kernel_cmdline_edit.Difference:
    """What grubby has to be told for every line to become what it should.

    It puts each word that it adds in the place of all of that name, so
    that others of that name have to be named as well.

    :raises Refused: when the lines differ so that no one call does it.
    """
    due = [kernel_cmdline_edit.difference(before[k], after[k]) for k in before]
    removed = _union([d.removed for d in due])
    names = {_name(w) for d in due for w in d.added}
    added = _union(
        [[w for w in line if _name(w) in names] for line in after.values()]
    )
    found = kernel_cmdline_edit.Difference(added, removed)
    for key, line in before.items():
        if Counter(_grubbied(line, found)) != Counter(after[key]):
            raise errors.Refused(
                f"{key} differs from other entries in what it says of"
                f" {', '.join(sorted(names | set(removed)))}; wanted one"
                " change for all of them: make them agree with grubby, and"
                " run this again"
            )
    return found


def _grubbied(
    line: Sequence[str], due: kernel_cmdline_edit.Difference
) -> tuple[str, ...]:
    """The words that grubby leaves of a line."""
    names = {_name(word) for word in due.added}
    left = list(line)
    for word in due.removed:
        if word in left:
            left.remove(word)
    return (*(w for w in left if _name(w) not in names), *due.added)


def _name(word: str) -> str:
    """What grubby takes for the name: all before the last ``=``."""
    return word.rpartition("=")[0] or word


def _union(parts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Each word as often as the part has it that has it most often."""
    most: Counter[str] = Counter()
    for part in parts:
        most |= Counter(part)
    order = dict.fromkeys(word for part in parts for word in part)
    return tuple(word for word in order for _ in range(most[word]))
