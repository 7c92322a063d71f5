"""Kernel arguments in GRUB's defaults: /etc/default/grub and its drop-ins.

grub-mkconfig sources these files and writes a menu from them.

Source: GNU GRUB manual, "Simple configuration handling": every entry has
GRUB_CMDLINE_LINUX, and all but those for recovery GRUB_CMDLINE_LINUX_DEFAULT
behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats import kernel_cmdline, shell_assignments
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.formats.shell_assignments import (
    Unevaluated,
    Variables,
)
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Reads,
)

PATH = "/etc/default/grub"
FOLDER = "/etc/default/grub.d"
SUFFIX = ".cfg"
# On Red Hat's systems the second is a link to the first.
READS = Reads(
    files=(PATH, "/etc/sysconfig/grub"),
    folders=(Folder(FOLDER, (SUFFIX,)),),
)
CMDLINE = "GRUB_CMDLINE_LINUX"
CMDLINE_DEFAULT = "GRUB_CMDLINE_LINUX_DEFAULT"


class DefaultsFile(NamedTuple):
    """One file that grub-mkconfig sources."""

    path: str
    text: str


class CommandLines(NamedTuple):
    """The words that grub-mkconfig will write into its menu.

    :param every: in every entry.
    :param normal: behind those, in every entry that is not for recovery.
    """

    every: tuple[str, ...]
    normal: tuple[str, ...]

    def satisfy(self, requirements: Requirements) -> bool:
        """Return whether both kinds of entries will say what is required."""
        return all(
            kernel_cmdline.is_satisfied(words, requirements)
            for words in (self.every, (*self.every, *self.normal))
        )


class UnevaluatedLine(NamedTuple):
    """The line after which only a shell can tell the kernel's arguments."""

    path: str
    line: str


def files(
    installation: Installation, *, has_drop_ins: bool
) -> tuple[DefaultsFile, ...]:
    """Return the files in the order in which they are sourced.

    :param has_drop_ins: whether grub-mkconfig sources those in ``FOLDER``,
        as Debian's does.
    """
    paths = [PATH] if PATH in installation.files else []
    if has_drop_ins:
        paths += installation.paths(FOLDER, SUFFIX)
    texts = ((path, installation.text(path)) for path in paths)
    return tuple(
        DefaultsFile(path, text) for path, text in texts if text is not None
    )


def command_lines(
    sourced: Sequence[DefaultsFile],
) -> CommandLines | UnevaluatedLine:
    """Return the kernel's arguments that the files come to."""
    variables = Variables()
    culprits = dict.fromkeys((CMDLINE, CMDLINE_DEFAULT), "")
    for file in sourced:
        before, variables = (
            variables,
            shell_assignments.evaluate(file.text, variables),
        )
        for name in culprits:
            if variables.value(name) != before.value(name):
                culprits[name] = file.path
    words: list[tuple[str, ...]] = []
    for name, path in culprits.items():
        value = variables.value(name)
        if not isinstance(value, str):
            line = value.line if isinstance(value, Unevaluated) else name
            return UnevaluatedLine(path, line)
        words.append(kernel_cmdline.split(value))
    return CommandLines(*words)
