"""grubby, for loader entries as RHEL from 8 on and Fedora have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader import (
    call,
    cmdline,
    defaults,
    menu,
    mkconfig,
)
from gpu_passthrough_plugin.enablement.bootloader.difference import (
    Difference,
)
from gpu_passthrough_plugin.enablement.bootloader.entries import (
    READS as ENTRIES,
)
from gpu_passthrough_plugin.enablement.bootloader.entries import (
    Entry,
    entries,
)
from gpu_passthrough_plugin.enablement.driver import (
    Bootloader,
    BootPlan,
    Configured,
)
from gpu_passthrough_plugin.formats import (
    kernel_cmdline,
    kernel_cmdline_edit,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Change, Run
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

_TOOL = "grubby"
_GRUBENV = "/boot/grub2/grubenv"
_SHARED = "kernelopts"
_FOLDER = "/boot/loader/entries"


class Grubby(Bootloader):
    """Every entry is told at once, and so is what new ones are made from.

    Source: grubby(8); Fedora, grubby-bls (update_bls_fragment).
    """

    name = "grubby"
    precedence = 50
    reads = (
        cmdline.READS
        | defaults.READS
        | ENTRIES
        | Reads(files=(_GRUBENV,), tools=(_TOOL,))
    )

    def claims(self, found: Installation) -> str | None:
        if _TOOL in found.tools and found.paths(_FOLDER, ".conf"):
            return f"{found.tools[_TOOL]} and {_FOLDER} are there"
        return None

    def configured(self, found: Installation) -> Configured:
        sources = {}
        if cmdline.PATH in found.files:
            sources[cmdline.PATH] = cmdline.said(found)
        shared = _environment(found).get(_SHARED)
        if shared:
            sources[f"{_GRUBENV} {_SHARED}"] = kernel_cmdline.split(shared)
        return Configured(sources, _entries(found))

    def plan(self, found: Installation, wanted: Requirements) -> BootPlan:
        _refuse_what_grubby_leaves(found, wanted)
        changes, notes = _sources(found, wanted)
        lines = _lines(found)
        right = {
            k: kernel_cmdline_edit.edit_words(line, wanted)
            for k, line in lines.items()
        }
        after = {k: r.words for k, r in right.items()}
        due = call.difference(lines, after)
        tool = found.tools[_TOOL]
        shown = due or Difference(
            kernel_cmdline.missing((), wanted), wanted.forbidden
        )
        run = Run(
            mkconfig.ARGUMENTS,
            call.argv(tool, shown),
            _touched(found),
            call.undo(tool, lines, after),
            bool(due),
        )
        noted = (*notes, *(n for r in right.values() for n in r.notes))
        return BootPlan((*changes, run), tuple(dict.fromkeys(noted)))


def _refuse_what_grubby_leaves(
    found: Installation, wanted: Requirements
) -> None:
    """Nothing, where grubby reaches all that the entries say.

    :raises Refused: when it does not.
    """
    for entry in _own(found):
        for place, line in _beyond(entry, _environment(found)):
            right = kernel_cmdline_edit.edit_words(line, wanted)
            wrong = set(line) - set(right.words)
            if wrong:
                raise errors.Refused(
                    f"{place} says {' '.join(sorted(wrong))}, which grubby"
                    " does not edit; wanted it without that: take it out"
                    " there, and run this again"
                )


def _beyond(
    entry: Entry, variables: Mapping[str, str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Words of an entry, and of what it takes in, that grubby leaves.

    :raises Refused: when the entry takes in what is not there: grubby
        would set it to what it adds and nothing else, without ``root=``.
    """
    shared = f"${_SHARED}"
    if shared in entry.words:
        if not variables.get(_SHARED):
            raise errors.Refused(
                f"{entry.path} takes its arguments from {_SHARED}, which"
                f" {_GRUBENV} does not have; wanted them there: run"
                " 'grub2-mkconfig -o' for the menu that GRUB reads, and run"
                " this again"
            )
        yield entry.path, entry.words
    for word in entry.words:
        name = word.removeprefix("$")
        if word != shared and name != word and name in variables:
            yield f"{_GRUBENV} {name}", kernel_cmdline.split(variables[name])


def _sources(
    found: Installation, wanted: Requirements
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """What new entries and a new environment block are made from.

    Not every grubby sees to these.
    """
    changes: list[Change] = []
    notes: list[str] = []
    if cmdline.PATH in found.files:
        change, said = cmdline.write(found, wanted)
        changes.append(change)
        notes += said
    if defaults.PATH in found.files:
        try:
            edited = mkconfig.edited(found, wanted)
        except errors.Refused as error:
            # The entries are what counts: this is said, and left alone.
            notes.append(str(error))
        else:
            changes += edited.changes
            notes += edited.notes
    return tuple(changes), tuple(notes)


def _own(found: Installation) -> tuple[Entry, ...]:
    """Entries that grubby edits: not those of an EFI system partition."""
    return tuple(
        entry for entry in entries(found) if entry.path.startswith(_FOLDER)
    )


def _touched(found: Installation) -> tuple[str, ...]:
    return (
        *found.paths(_FOLDER, ".conf"),
        found.real(_GRUBENV),
        found.real(defaults.PATH),
        cmdline.PATH,
    )


def _environment(found: Installation) -> Mapping[str, str]:
    return menu.environment(found.text(_GRUBENV))


def _entries(found: Installation) -> dict[str, tuple[str, ...]]:
    """What each entry says, with what it takes from the environment."""
    variables = _environment(found)
    return {
        entry.path: tuple(
            part for word in entry.words for part in _expanded(word, variables)
        )
        for entry in _own(found)
    }


def _expanded(word: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    name = word.removeprefix("$")
    if name == word or name not in variables:
        return (word,)
    return kernel_cmdline.split(variables[name])


def _lines(found: Installation) -> dict[str, tuple[str, ...]]:
    """Every line of words that grubby edits."""
    shared = _environment(found).get(_SHARED, "")
    lines = {_SHARED: kernel_cmdline.split(shared)} if shared else {}
    return lines | {
        entry.path: entry.words
        for entry in _own(found)
        if f"${_SHARED}" not in entry.words
    }
