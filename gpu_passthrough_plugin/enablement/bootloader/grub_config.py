"""GRUB's generated menu, made anew from /etc/default/grub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.driver import BootPlan, Configured
from gpu_passthrough_plugin.formats import (
    grub_defaults,
    grub_menu,
    kernel_cmdline,
    kernel_cmdline_edit,
    shell_assignments,
)
from gpu_passthrough_plugin.formats.grub_defaults import EVERY, USUAL, Source
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import (
    BESIDE,
    Action,
    Change,
    Run,
    Write,
)
from gpu_passthrough_plugin.model.installation import Installation, encoded

ARGUMENTS = "kernel arguments"
MENU = "boot menu"


def configured(
    found: Installation, files: Sequence[Source], output: str | None
) -> Configured:
    """What the files come to, and what the menu at ``output`` says.

    Nothing of files that only a shell can tell the value of.
    """
    said = {}
    try:
        now = grub_defaults.values(files)
    except errors.Refused:
        pass
    else:
        said = {
            f"{grub_defaults.PATH} {EVERY}": now.every,
            f"{grub_defaults.PATH} {USUAL}": now.usual,
        }
    entries = grub_menu.entries(output, found.text(output)) if output else {}
    return Configured(said, entries)


def edited(found: Installation, wanted: Requirements) -> BootPlan:
    """What puts the arguments into /etc/default/grub itself.

    :raises Refused: when it cannot be edited safely.
    """
    files = grub_defaults.sources(found, beside=False)
    if not files:
        raise errors.Refused(
            f"{grub_defaults.PATH} is not there; wanted GRUB's settings in it:"
            f' write {EVERY}="" into it and run this again'
        )
    fixed = corrected(files, wanted)
    after = completed(fixed.files[0], wanted)
    verified((after,), wanted)
    return BootPlan((write(files[0], after),), fixed.notes)


class Corrected(NamedTuple):
    """The files without what is wrong in them."""

    files: tuple[Source, ...]
    notes: tuple[str, ...]


def corrected(files: Sequence[Source], wanted: Requirements) -> Corrected:
    """Wrong words put right where they stand; nothing is added."""
    fixed: list[Source] = []
    notes: list[str] = []
    for file in files:
        text = file.text
        # From the last one on, so that places before it stay what they are.
        for one in reversed(shell_assignments.assignments(text)):
            if one.name not in (EVERY, USUAL) or one.is_expression:
                continue
            body = kernel_cmdline_edit.correct_text(one.body, wanted)
            notes += body.notes
            if body.text != one.body:
                text = shell_assignments.replaced(text, one, body.text)
        fixed.append(Source(file.path, text))
    return Corrected(tuple(fixed), tuple(dict.fromkeys(notes)))


def completed(file: Source, wanted: Requirements) -> Source:
    """The file with what is missing in its last ``EVERY``.

    :raises Refused: when it has none.
    """
    missing = kernel_cmdline.missing(
        grub_defaults.values([file]).every, wanted
    )
    if not missing:
        return file
    last = next(
        (
            one
            for one in reversed(shell_assignments.assignments(file.text))
            if one.name == EVERY
        ),
        None,
    )
    if last is None:
        raise errors.Refused(
            f"{file.path} has no line {EVERY}=; wanted one to add"
            f' {" ".join(missing)} to: write {EVERY}="" into it and run'
            " this again"
        )
    body = kernel_cmdline_edit.edit_text(last.body, Requirements(missing)).text
    return Source(file.path, shell_assignments.replaced(file.text, last, body))


def write(before: Source, after: Source) -> Write:
    """The change of one of GRUB's files."""
    return Write(
        ARGUMENTS, before.path, encoded(before.text), encoded(after.text)
    )


def verified(files: Sequence[Source], wanted: Requirements) -> None:
    """Nothing, where the files will say what is wanted.

    :raises Refused: where one of them would still say something else.
    """
    if grub_defaults.values(files).is_satisfied(wanted):
        return
    required = " ".join(kernel_cmdline.missing((), wanted))
    last = next(
        (file for file in reversed(files) if EVERY in file.text),
        files[-1],
    )
    raise errors.Refused(
        f"{last.path} sets {EVERY} so that what is set before it is"
        f" lost; wanted {required} in every entry:"
        f' have it say {EVERY}="${EVERY} …", and run this'
        " again"
    )


def generated(
    found: Installation,
    changes: Sequence[Change],
    argv: tuple[str, ...],
    output: str,
    wanted: Requirements,
) -> Run:
    """What writes the menu anew, where it does not say what is wanted.

    Beside the present one: grub-mkconfig itself would write over it, and
    leave a part of a menu where it is cut off.
    Source: GRUB, util/grub-mkconfig.in; the last ``-o`` counts.

    :param changes: of the files that it is made from.
    :param argv: the command, without where it writes to.
    """
    argv = (*argv, "-o", BESIDE)
    text = found.text(output)
    said = grub_menu.entries(output, text)
    is_said = all(
        kernel_cmdline.is_satisfied(line, wanted) for line in said.values()
    )
    is_needed = text is None or not is_said or any(map(is_change, changes))
    return Run(MENU, argv, (output,), argv, is_needed, output)


def is_change(change: Change) -> bool:
    return change.action is not Action.KEEP


def tool(found: Installation, *names: str) -> str:
    """The path of the first of these commands that is installed.

    :raises Refused: when none is.
    """
    for name in names:
        if name in found.tools:
            return found.tools[name]
    raise errors.Refused(
        f"{' and '.join(names)} not found; wanted it to apply the kernel's"
        " arguments: install it, and run this again"
    )
