"""GRUB 2 and its generator: kernel arguments in /etc/default/grub.

The driver is for CentOS 7, Arch and others that have one file of defaults.
Drivers of systems with GRUB underneath share the functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.driver import (
    STEP_ARGUMENTS,
    STEP_MENU,
    BootloaderDriver,
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
    NEW_PATH,
    Change,
    Run,
    Write,
    is_change,
)
from gpu_passthrough_plugin.model.installation import (
    Installation,
    Reads,
    encoded,
)

_TOOLS = ("grub2-mkconfig", "grub-mkconfig")
_MENUS = ("/boot/grub2/grub.cfg", "/boot/grub/grub.cfg")
# Vendors' folders on the EFI system partition hold a grub.cfg each.
_EFI = "/boot/efi/EFI"


class Grub2(BootloaderDriver):
    """Arguments are in /etc/default/grub, and the menu where GRUB is."""

    name = "grub2"
    precedence = 70
    reads = grub_defaults.READS | Reads(
        files=(*_MENUS, f"{_EFI}/*/grub.cfg"), tools=_TOOLS
    )

    def claims(self, installation: Installation) -> str | None:
        tool = next((t for t in _TOOLS if t in installation.tools), None)
        if tool is None or grub_defaults.PATH not in installation.files:
            return None
        return f"{installation.tools[tool]} and {grub_defaults.PATH} exist"

    def configured(self, installation: Installation) -> ConfiguredArguments:
        files = grub_defaults.files(installation, has_drop_ins=False)
        return configured(installation, files, known_menu(installation))

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        path = menu(installation)
        if grub_menu.has_loader_entries(installation.text(path) or ""):
            raise errors.Refused(
                f"{path} takes its entries from /boot/loader/entries, which"
                f" {_TOOLS[0]} does not write and grubby does: install"
                " grubby, then run this again"
            )
        return edit(installation, requirements, path)


def edit(
    installation: Installation, requirements: Requirements, menu: str
) -> BootloaderPlan:
    """Return what edits /etc/default/grub and makes the menu from it.

    :param menu: path of the menu.
    """
    argv = (tool(installation, *_TOOLS),)
    plan = edit_defaults(installation, requirements)
    run = generate_menu(installation, plan.changes, argv, menu, requirements)
    return plan._replace(changes=(*plan.changes, run))


def known_menu(installation: Installation) -> str | None:
    """Return the path of the menu that GRUB reads; None if not known."""
    try:
        return menu(installation)
    except errors.Refused:
        return None


def menu(installation: Installation) -> str:
    """Return the path of the menu that GRUB reads, which is never a stub.

    :raises Refused: when there is none, or several may be meant.
    """
    paths = (
        f"{_EFI}/{vendor}/grub.cfg" for vendor in installation.names(_EFI)
    )
    menus = [
        path
        for path in paths
        if grub_menu.is_menu(installation.text(path) or "")
    ]
    if installation.is_efi and len(menus) > 1:
        raise errors.Refused(
            "more than one GRUB menu on the EFI system partition:"
            f" {' and '.join(menus)}; remove the folder of the system that is"
            " not installed any more, then run this again"
        )
    if installation.is_efi and menus:
        return menus[0]
    for path in _MENUS:
        if path in installation.files:
            return path
    raise errors.Refused(
        f"no GRUB menu at {' or '.join(_MENUS)}; make the one that GRUB reads"
        f" with {_TOOLS[0]} -o, then run this again"
    )


class CorrectedFiles(NamedTuple):
    """The files without wrong arguments, and what was corrected."""

    files: tuple[DefaultsFile, ...]
    notes: tuple[str, ...]


def configured(
    installation: Installation, files: Sequence[DefaultsFile], menu: str | None
) -> ConfiguredArguments:
    """Return what the files come to, and what the menu says.

    Nothing of files whose value only a shell can tell.

    :param menu: its path; None where it is not known which menu is read.
    """
    sources = {}
    lines = grub_defaults.command_lines(files)
    if isinstance(lines, CommandLines):
        sources = {
            f"{grub_defaults.PATH} {CMDLINE}": lines.every,
            f"{grub_defaults.PATH} {CMDLINE_DEFAULT}": lines.normal,
        }
    entries: dict[str, tuple[str, ...]] = {}
    if menu:
        text = installation.text(menu) or ""
        entries = grub_menu.kernel_arguments(menu, text)
    return ConfiguredArguments(sources, entries)


def edit_defaults(
    installation: Installation, requirements: Requirements
) -> BootloaderPlan:
    """Return what writes the arguments into /etc/default/grub itself.

    :raises Refused: when that file cannot be edited safely.
    """
    files = grub_defaults.files(installation, has_drop_ins=False)
    if not files:
        raise errors.Refused(
            f"{grub_defaults.PATH} does not exist; expected GRUB's settings"
            f' there: write {CMDLINE}="" into it, then run this again'
        )
    corrected = correct(files, requirements)
    edited = _complete(corrected.files[0], requirements)
    require_satisfied((edited,), requirements)
    return BootloaderPlan((write(files[0], edited),), corrected.notes)


def command_lines(files: Sequence[DefaultsFile]) -> CommandLines:
    """Return the arguments that the files come to.

    :raises Refused: where only a shell can tell.
    """
    lines = grub_defaults.command_lines(files)
    if isinstance(lines, UnevaluatedLine):
        raise errors.Refused(
            f"{lines.path}: only a shell can evaluate '{lines.line}';"
            " expected words in one pair of quotes: write them so, then run"
            " this again"
        )
    return lines


def correct(
    files: Sequence[DefaultsFile], requirements: Requirements
) -> CorrectedFiles:
    """Return the files with wrong arguments corrected where they stand.

    Nothing is added.
    """
    corrected: list[DefaultsFile] = []
    notes: list[str] = []
    for file in files:
        text = file.text
        # From the last one on, so that places before it stay what they are.
        for assignment in reversed(shell_assignments.assignments(text)):
            if assignment.name not in (CMDLINE, CMDLINE_DEFAULT):
                continue
            body = kernel_cmdline_edit.correct_text(
                assignment.body, requirements
            )
            notes += body.notes
            if body.text != assignment.body:
                text = shell_assignments.replaced(text, assignment, body.text)
        corrected.append(DefaultsFile(file.path, text))
    return CorrectedFiles(tuple(corrected), tuple(dict.fromkeys(notes)))


def _complete(file: DefaultsFile, requirements: Requirements) -> DefaultsFile:
    """Return the file with what is missing in its last ``CMDLINE``.

    :raises Refused: when it has none.
    """
    missing = kernel_cmdline.missing(command_lines([file]).every, requirements)
    if not missing:
        return file
    last = next(
        (
            assignment
            for assignment in reversed(
                shell_assignments.assignments(file.text)
            )
            if assignment.name == CMDLINE
        ),
        None,
    )
    if last is None:
        raise errors.Refused(
            f"{file.path} has no line {CMDLINE}= to add {' '.join(missing)}"
            f' to: write {CMDLINE}="" into it, then run this again'
        )
    body = kernel_cmdline_edit.edit_text(last.body, Requirements(missing)).text
    return DefaultsFile(
        file.path, shell_assignments.replaced(file.text, last, body)
    )


def write(before: DefaultsFile, after: DefaultsFile) -> Write:
    """Return the change of one of the files."""
    return Write(
        STEP_ARGUMENTS,
        before.path,
        encoded(before.text),
        encoded(after.text),
    )


def require_satisfied(
    files: Sequence[DefaultsFile], requirements: Requirements
) -> None:
    """Raise if a menu made from the files would lack what is required.

    :raises Refused: naming the file that overrides the others.
    """
    if command_lines(files).satisfy(requirements):
        return
    required = " ".join(kernel_cmdline.missing((), requirements))
    last = next(
        (file for file in reversed(files) if CMDLINE in file.text),
        files[-1],
    )
    raise errors.Refused(
        f"{last.path} sets {CMDLINE} and drops what was set before, so that"
        f" {required} would not be in every entry: have it say"
        f' {CMDLINE}="${CMDLINE} …", then run this again'
    )


def generate_menu(
    installation: Installation,
    changes: Sequence[Change],
    argv: tuple[str, ...],
    menu: str,
    requirements: Requirements,
) -> Run:
    """Return what writes the menu, needed where it lacks what is required.

    It is written to another path first: grub-mkconfig itself would overwrite
    it, and leave a part of a menu when it is interrupted.
    Source: GRUB, util/grub-mkconfig.in; the last ``-o`` counts.

    :param changes: of the files that it is made from.
    :param argv: the command without ``-o``.
    :param menu: path of the menu that GRUB reads.
    """
    argv = (*argv, "-o", NEW_PATH)
    text = installation.text(menu)
    entries = grub_menu.kernel_arguments(menu, text or "")
    is_up_to_date = text is not None and all(
        kernel_cmdline.is_satisfied(words, requirements)
        for words in entries.values()
    )
    is_needed = not is_up_to_date or any(map(is_change, changes))
    return Run(STEP_MENU, argv, (menu,), argv, is_needed, menu)


def tool(installation: Installation, *names: str) -> str:
    """Return the path of the first of these commands that is installed.

    :raises Refused: when none is.
    """
    for name in names:
        if name in installation.tools:
            return installation.tools[name]
    raise errors.Refused(
        f"command {' or '.join(names)} not found; it applies kernel"
        " arguments: install it, then run this again"
    )
