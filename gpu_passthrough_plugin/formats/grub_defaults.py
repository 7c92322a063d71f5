"""Kernel arguments in /etc/default/grub and in the files beside it.

Source: GNU GRUB manual, "Simple configuration handling": every entry has
GRUB_CMDLINE_LINUX, and all but those for recovery GRUB_CMDLINE_LINUX_DEFAULT
behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import kernel_cmdline, shell_assignments
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Folder, Reads

PATH = "/etc/default/grub"
FOLDER = "/etc/default/grub.d"
# On Red Hat's systems the second is a link to the first.
READS = Reads(
    files=(PATH, "/etc/sysconfig/grub"),
    folders=(Folder(FOLDER, (".cfg",)),),
)
EVERY, USUAL = "GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"


class Source(NamedTuple):
    """One file that GRUB's generator sources."""

    path: str
    text: str


class Values(NamedTuple):
    """Words that the generator will write.

    :param every: into every entry.
    :param usual: behind those, into all but those for recovery.
    """

    every: tuple[str, ...]
    usual: tuple[str, ...]

    def is_satisfied(self, wanted: Requirements) -> bool:
        return kernel_cmdline.is_satisfied(
            self.every, wanted
        ) and kernel_cmdline.is_satisfied((*self.every, *self.usual), wanted)


def sources(found: Installation, *, beside: bool) -> tuple[Source, ...]:
    """The files in the order in which they are sourced.

    :param beside: whether those in ``FOLDER`` are, as on Debian.
    """
    paths = [PATH] if PATH in found.files else []
    if beside:
        paths += found.paths(FOLDER, ".cfg")
    texts = ((path, found.text(path)) for path in paths)
    return tuple(Source(p, text) for p, text in texts if text is not None)


def values(files: Sequence[Source]) -> Values:
    """What the files come to.

    :raises Refused: where only a shell can tell.
    """
    variables: dict[str, str | None] = {}
    for file in files:
        for name in (EVERY, USUAL):
            line = shell_assignments.stray(file.text, name)
            if line:
                raise _refusal(file.path, line)
        for one in shell_assignments.assignments(file.text):
            variables[one.name] = shell_assignments.value(one, variables)
            if one.name in (EVERY, USUAL) and variables[one.name] is None:
                raise _refusal(file.path, f"{one.name}={one.written}")
    return Values(
        kernel_cmdline.split(variables.get(EVERY) or ""),
        kernel_cmdline.split(variables.get(USUAL) or ""),
    )


def _refusal(path: str, line: str) -> errors.Refused:
    return errors.Refused(
        f"{path} says {' '.join(line.split())}, whose value only a shell can"
        " tell; wanted words between one pair of quotes: write them so, and"
        " run this again"
    )
