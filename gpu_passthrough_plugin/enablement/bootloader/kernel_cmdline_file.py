"""/etc/kernel/cmdline: what entries are made from."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import (
    kernel_cmdline,
    kernel_cmdline_edit,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Write
from gpu_passthrough_plugin.model.installation import Installation, encoded
from gpu_passthrough_plugin.model.reads import Reads

PATH = "/etc/kernel/cmdline"
READS = Reads(files=(PATH,))
STEP = "kernel arguments"


def said(
    installation: Installation, *, is_first_line: bool = False
) -> tuple[str, ...]:
    """The words of the file; none where there is no file."""
    lines = _lines(installation.text(PATH) or "", is_first_line)
    return kernel_cmdline.split(
        " ".join(line for line, is_read in lines if is_read)
    )


def write(
    installation: Installation,
    requirements: Requirements,
    *,
    is_first_line: bool = False,
) -> tuple[Write, tuple[str, ...]]:
    """The file with what is wanted in it, and notes.

    :param is_first_line: whether only that one is read, as Proxmox does.
    :raises Refused: when there is no such file.
    """
    text = installation.text(PATH)
    if text is None:
        raise errors.Refused(
            f"{PATH} is not there; wanted the kernel's arguments in it, since"
            " new entries are made from the running kernel's otherwise: write"
            " those of /proc/cmdline that are not the boot loader's into it,"
            " and run this again"
        )
    lines = _lines(text, is_first_line)
    fixed: list[tuple[str, bool]] = []
    notes: list[str] = []
    for line, is_read in lines:
        right = (
            kernel_cmdline_edit.correct_text(line, requirements)
            if is_read
            else kernel_cmdline_edit.EditedText(line)
        )
        fixed.append((right.text, is_read))
        notes += right.notes
    now = kernel_cmdline.split(
        " ".join(line for line, is_read in fixed if is_read)
    )
    missing = Requirements(kernel_cmdline.missing(now, requirements))
    at = next((n for n, (_, is_read) in enumerate(fixed) if is_read), 0)
    rows = [line for line, _ in fixed] or [""]
    rows[at] = kernel_cmdline_edit.edit_text(rows[at], missing).text
    becomes = encoded("".join(rows))
    change = Write(STEP, PATH, encoded(text), becomes)
    return change, tuple(dict.fromkeys(notes))


def _lines(text: str, is_first_line: bool) -> list[tuple[str, bool]]:
    """Each line, and whether it is read."""
    lines = text.splitlines(keepends=True)
    return [
        (line, not line.startswith("#") and not (is_first_line and number))
        for number, line in enumerate(lines)
    ]
