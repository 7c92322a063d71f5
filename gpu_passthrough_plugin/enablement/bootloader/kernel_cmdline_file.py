"""/etc/kernel/cmdline: the kernel arguments of new loader entries.

Source: kernel-install(8), "/etc/kernel/cmdline"; Proxmox,
proxmox-kernel-helper, which reads the first line.
"""

from __future__ import annotations

from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.driver import STEP_ARGUMENTS
from gpu_passthrough_plugin.formats import (
    kernel_cmdline,
    kernel_cmdline_edit,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.formats.kernel_cmdline_edit import EditedText
from gpu_passthrough_plugin.model.change import Write
from gpu_passthrough_plugin.model.installation import (
    Installation,
    Reads,
    encoded,
)

PATH = "/etc/kernel/cmdline"
READS = Reads(files=(PATH,))


class EditedFile(NamedTuple):
    """The change of the file, and notes for the operator."""

    change: Write
    notes: tuple[str, ...]


def arguments(
    installation: Installation, *, is_first_line_only: bool = False
) -> tuple[str, ...]:
    """Return the words of the file; none where there is no file."""
    text = installation.text(PATH) or ""
    lines = text.splitlines(keepends=True)
    return _words(lines, _read_lines(lines, is_first_line_only))


def edit(
    installation: Installation,
    requirements: Requirements,
    *,
    is_first_line_only: bool = False,
) -> EditedFile:
    """Return the file with what is required in it.

    :param is_first_line_only: whether only the first line is read, as
        Proxmox does.
    :raises Refused: when there is no such file.
    """
    text = installation.text(PATH)
    if text is None:
        raise errors.Refused(
            f"{PATH} does not exist, so that new entries get the arguments of"
            " the running kernel: write those of /proc/cmdline that are not"
            " the boot loader's own into it, then run this again"
        )
    lines = text.splitlines(keepends=True)
    read = _read_lines(lines, is_first_line_only)
    corrected = [
        kernel_cmdline_edit.correct_text(line, requirements)
        if index in read
        else EditedText(line)
        for index, line in enumerate(lines)
    ]
    rows = [line.text for line in corrected] or [""]
    missing = kernel_cmdline.missing(_words(rows, read), requirements)
    first = min(read, default=0)
    rows[first] = kernel_cmdline_edit.edit_text(
        rows[first], Requirements(missing)
    ).text
    notes = (note for line in corrected for note in line.notes)
    return EditedFile(
        Write(STEP_ARGUMENTS, PATH, encoded(text), encoded("".join(rows))),
        tuple(dict.fromkeys(notes)),
    )


def _read_lines(lines: list[str], is_first_line_only: bool) -> frozenset[int]:
    """Return the indexes of the lines that are read."""
    return frozenset(
        index
        for index, line in enumerate(lines)
        if not line.startswith("#") and not (is_first_line_only and index)
    )


def _words(lines: list[str], read: frozenset[int]) -> tuple[str, ...]:
    return kernel_cmdline.split(
        " ".join(line for index, line in enumerate(lines) if index in read)
    )
