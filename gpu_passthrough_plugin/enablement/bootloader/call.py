"""One call of grubby that makes every line what it should be.

Source: Fedora, grubby-bls (update_args).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader import difference as pair

Lines = Mapping[str, Sequence[str]]


def argv(tool: str, due: pair.Difference) -> tuple[str, ...]:
    """The call, for all entries."""
    options = [f"--args={' '.join(due.added)}"] if due.added else []
    if due.removed:
        options.append(f"--remove-args={' '.join(due.removed)}")
    return (tool, "--update-kernel=ALL", *options)


def undo(tool: str, before: Lines, after: Lines) -> tuple[str, ...]:
    """The call that takes it back; empty when no one call does, or need be."""
    try:
        due = difference(after, before)
    except errors.Refused:
        return ()
    return argv(tool, due) if due else ()


def difference(before: Lines, after: Lines) -> pair.Difference:
    """What grubby has to be told for every line to become what it should.

    It puts each word that it adds in the place of all of that name, so
    that others of that name have to be named as well.

    :raises Refused: when the lines differ so that no one call does it.
    """
    due = [pair.difference(before[k], after[k]) for k in before]
    removed = _union([d.removed for d in due])
    names = {_name(w) for d in due for w in d.added}
    added = _union(
        [[w for w in line if _name(w) in names] for line in after.values()]
    )
    found = pair.Difference(added, removed)
    for key, line in before.items():
        if Counter(_grubbied(line, found)) != Counter(after[key]):
            raise errors.Refused(
                f"{key} differs from other entries in what it says of"
                f" {', '.join(sorted(names | set(removed)))}; wanted one"
                " change for all of them: make them agree with grubby, and"
                " run this again"
            )
    return found


def _grubbied(line: Sequence[str], due: pair.Difference) -> tuple[str, ...]:
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
