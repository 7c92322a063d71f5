"""GRUB's generated menu, made anew from /etc/default/grub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.driver import (
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import (
    grub_defaults,
    grub_menu,
    kernel_cmdline,
    kernel_cmdline_edit,
    shell_assignments,
)
from gpu_passthrough_plugin.formats.grub_defaults import (
    CMDLINE,
    CMDLINE_DEFAULT,
    CommandLines,
    DefaultsFile,
    UnevaluatedLine,
)
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
    installation: Installation,
    files: Sequence[DefaultsFile],
    output: str | None,
) -> ConfiguredArguments:
    """What the files come to, and what the menu at ``output`` says.

    Nothing of files that only a shell can tell the value of.
    """
    said = {}
    now = grub_defaults.command_lines(files)
    if isinstance(now, CommandLines):
        said = {
            f"{grub_defaults.PATH} {CMDLINE}": now.every,
            f"{grub_defaults.PATH} {CMDLINE_DEFAULT}": now.normal,
        }
    entries: dict[str, tuple[str, ...]] = {}
    if output:
        text = installation.text(output) or ""
        entries = grub_menu.kernel_arguments(output, text)
    return ConfiguredArguments(said, entries)


def edited(
    installation: Installation, requirements: Requirements
) -> BootloaderPlan:
    """What puts the arguments into /etc/default/grub itself.

    :raises Refused: when it cannot be edited safely.
    """
    files = grub_defaults.files(installation, has_drop_ins=False)
    if not files:
        raise errors.Refused(
            f"{grub_defaults.PATH} is not there; wanted GRUB's settings in it:"
            f' write {CMDLINE}="" into it and run this again'
        )
    fixed = corrected(files, requirements)
    after = completed(fixed.files[0], requirements)
    verified((after,), requirements)
    return BootloaderPlan((write(files[0], after),), fixed.notes)


def command_lines(files: Sequence[DefaultsFile]) -> CommandLines:
    """What the files come to.

    :raises Refused: where only a shell can tell.
    """
    lines = grub_defaults.command_lines(files)
    if isinstance(lines, UnevaluatedLine):
        raise errors.Refused(
            f"{lines.path} says {lines.line}, whose value only a shell can"
            " tell; wanted words between one pair of quotes: write them so,"
            " and run this again"
        )
    return lines


class Corrected(NamedTuple):
    """The files without what is wrong in them."""

    files: tuple[DefaultsFile, ...]
    notes: tuple[str, ...]


def corrected(
    files: Sequence[DefaultsFile], requirements: Requirements
) -> Corrected:
    """Wrong words put right where they stand; nothing is added."""
    fixed: list[DefaultsFile] = []
    notes: list[str] = []
    for file in files:
        text = file.text
        # From the last one on, so that places before it stay what they are.
        for one in reversed(shell_assignments.assignments(text)):
            if one.name not in (CMDLINE, CMDLINE_DEFAULT):
                continue
            body = kernel_cmdline_edit.correct_text(one.body, requirements)
            notes += body.notes
            if body.text != one.body:
                text = shell_assignments.replaced(text, one, body.text)
        fixed.append(DefaultsFile(file.path, text))
    return Corrected(tuple(fixed), tuple(dict.fromkeys(notes)))


def completed(file: DefaultsFile, requirements: Requirements) -> DefaultsFile:
    """The file with what is missing in its last ``CMDLINE``.

    :raises Refused: when it has none.
    """
    missing = kernel_cmdline.missing(command_lines([file]).every, requirements)
    if not missing:
        return file
    last = next(
        (
            one
            for one in reversed(shell_assignments.assignments(file.text))
            if one.name == CMDLINE
        ),
        None,
    )
    if last is None:
        raise errors.Refused(
            f"{file.path} has no line {CMDLINE}=; wanted one to add"
            f' {" ".join(missing)} to: write {CMDLINE}="" into it and run'
            " this again"
        )
    body = kernel_cmdline_edit.edit_text(last.body, Requirements(missing)).text
    return DefaultsFile(
        file.path, shell_assignments.replaced(file.text, last, body)
    )


def write(before: DefaultsFile, after: DefaultsFile) -> Write:
    """The change of one of GRUB's files."""
    return Write(
        ARGUMENTS, before.path, encoded(before.text), encoded(after.text)
    )


def verified(
    files: Sequence[DefaultsFile], requirements: Requirements
) -> None:
    """Nothing, where the files will say what is wanted.

    :raises Refused: where one of them would still say something else.
    """
    if command_lines(files).satisfy(requirements):
        return
    required = " ".join(kernel_cmdline.missing((), requirements))
    last = next(
        (file for file in reversed(files) if CMDLINE in file.text),
        files[-1],
    )
    raise errors.Refused(
        f"{last.path} sets {CMDLINE} so that what is set before it is"
        f" lost; wanted {required} in every entry:"
        f' have it say {CMDLINE}="${CMDLINE} …", and run this'
        " again"
    )


def generated(
    installation: Installation,
    changes: Sequence[Change],
    argv: tuple[str, ...],
    output: str,
    requirements: Requirements,
) -> Run:
    """What writes the menu anew, where it does not say what is wanted.

    Beside the present one: grub-mkconfig itself would write over it, and
    leave a part of a menu where it is cut off.
    Source: GRUB, util/grub-mkconfig.in; the last ``-o`` counts.

    :param changes: of the files that it is made from.
    :param argv: the command, without where it writes to.
    """
    argv = (*argv, "-o", BESIDE)
    text = installation.text(output)
    said = grub_menu.kernel_arguments(output, text or "")
    is_said = all(
        kernel_cmdline.is_satisfied(line, requirements)
        for line in said.values()
    )
    is_needed = text is None or not is_said or any(map(is_change, changes))
    return Run(MENU, argv, (output,), argv, is_needed, output)


def is_change(change: Change) -> bool:
    return change.action is not Action.KEEP


def tool(installation: Installation, *names: str) -> str:
    """The path of the first of these commands that is installed.

    :raises Refused: when none is.
    """
    for name in names:
        if name in installation.tools:
            return installation.tools[name]
    raise errors.Refused(
        f"{' and '.join(names)} not found; wanted it to apply the kernel's"
        " arguments: install it, and run this again"
    )
