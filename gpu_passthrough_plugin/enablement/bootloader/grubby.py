"""grubby, for loader entries as RHEL from 8 on and Fedora have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import words
from gpu_passthrough_plugin.enablement.bootloader import (
    cmdline,
    defaults,
    menu,
    mkconfig,
)
from gpu_passthrough_plugin.enablement.bootloader.difference import (
    Difference,
    difference,
)
from gpu_passthrough_plugin.enablement.bootloader.entries import entries
from gpu_passthrough_plugin.enablement.driver import (
    Bootloader,
    BootPlan,
    Configured,
)
from gpu_passthrough_plugin.model.arguments import Arguments
from gpu_passthrough_plugin.model.change import Change, Run
from gpu_passthrough_plugin.model.installation import Installation

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
            sources[f"{_GRUBENV} {_SHARED}"] = words.split(shared)
        return Configured(sources, _entries(found))

    def plan(self, found: Installation, wanted: Arguments) -> BootPlan:
        _refuse_bare_entries(found)
        changes, notes = _sources(found, wanted)
        lines = _lines(found)
        right = {k: words.edited(line, wanted) for k, line in lines.items()}
        due = _difference(lines, {k: r.words for k, r in right.items()})
        tool = found.tools[_TOOL]
        shown = due or Difference(words.missing((), wanted), wanted.never)
        run = Run(
            mkconfig.ARGUMENTS,
            _argv(tool, shown),
            _touched(found),
            _argv(tool, due.inverse) if due else (),
            bool(due),
        )
        noted = (*notes, *(n for r in right.values() for n in r.notes))
        return BootPlan((*changes, run), tuple(dict.fromkeys(noted)))


def _refuse_bare_entries(found: Installation) -> None:
    """Nothing, where what entries take from the environment is there.

    grubby would set it to what it adds and nothing else, without root=.

    :raises Refused: when it is not.
    """
    if _environment(found).get(_SHARED):
        return
    for entry in entries(found):
        if f"${_SHARED}" in entry.words:
            raise errors.Refused(
                f"{entry.path} takes its arguments from {_SHARED}, which"
                f" {_GRUBENV} does not have; wanted them there: run"
                " 'grub2-mkconfig -o' for the menu that GRUB reads, and run"
                " this again"
            )


def _sources(
    found: Installation, wanted: Arguments
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


def _argv(tool: str, due: Difference) -> tuple[str, ...]:
    options = [f"--args={' '.join(due.added)}"] if due.added else []
    if due.removed:
        options.append(f"--remove-args={' '.join(due.removed)}")
    return (tool, "--update-kernel=ALL", *options)


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
        for entry in entries(found)
    }


def _expanded(word: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    name = word.removeprefix("$")
    if name == word or name not in variables:
        return (word,)
    return words.split(variables[name])


def _lines(found: Installation) -> dict[str, tuple[str, ...]]:
    """Every line of words that grubby edits."""
    shared = _environment(found).get(_SHARED, "")
    lines = {_SHARED: words.split(shared)} if shared else {}
    return lines | _entries(found)


def _difference(
    before: Mapping[str, tuple[str, ...]],
    after: Mapping[str, tuple[str, ...]],
) -> Difference:
    """What grubby has to be told for every line to become what it should.

    It puts each word that it adds in the place of all of that name, so
    that others of that name have to be named as well.

    :raises Refused: when the lines differ so that no one call does it.
    """
    due = [difference(before[k], after[k]) for k in before]
    removed = _union([d.removed for d in due])
    names = {_name(w) for d in due for w in d.added}
    added = _union(
        [[w for w in line if _name(w) in names] for line in after.values()]
    )
    found = Difference(added, removed)
    for key, line in before.items():
        if Counter(_grubbied(line, found)) != Counter(after[key]):
            raise errors.Refused(
                f"{key} differs from other entries in what it says of"
                f" {', '.join(sorted(names | set(removed)))}; wanted one"
                " change for all of them: make them agree with grubby, and"
                " run this again"
            )
    return found


def _grubbied(line: Sequence[str], due: Difference) -> tuple[str, ...]:
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
