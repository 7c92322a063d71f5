"""A boot loader that nobody has, as a third party would bring its driver.

Lantern's settings are ``key = value`` lines; the kernel arguments are the
value of ``arguments``.  ``lantern-install`` writes /boot/lantern.map, which
the loader reads, from them.
"""

from __future__ import annotations

import re

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.driver import (
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import kernel_cmdline, kernel_cmdline_edit
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Action, Run, Write
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Reads,
    encoded,
)

SETTINGS = "/etc/lantern.conf"
DROP_INS = "/etc/lantern.d"
MAP = "/boot/lantern.map"
TOOL = "lantern-install"
_ARGUMENTS = re.compile(r"^(arguments *= *)(.*)$", re.MULTILINE)


class Lantern(BootloaderDriver):
    """Arguments are one line of its settings; a command installs them."""

    name = "lantern"
    precedence = 5
    reads = Reads(
        files=(SETTINGS, MAP),
        folders=(Folder(DROP_INS, (".conf",)),),
        tools=(TOOL,),
    )

    def claims(self, installation: Installation) -> str | None:
        if TOOL in installation.tools and SETTINGS in installation.files:
            return f"{installation.tools[TOOL]} and {SETTINGS} exist"
        return None

    def configured(self, installation: Installation) -> ConfiguredArguments:
        sources = {}
        for path in (SETTINGS, *installation.paths(DROP_INS, ".conf")):
            match = _ARGUMENTS.search(installation.text(path) or "")
            if match:
                sources[path] = kernel_cmdline.split(match[2])
        return ConfiguredArguments(
            sources, {MAP: kernel_cmdline.split(installation.text(MAP) or "")}
        )

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        text = installation.text(SETTINGS) or ""
        match = _ARGUMENTS.search(text)
        if match is None:
            raise errors.Refused(
                f"{SETTINGS} has no line 'arguments ='; add one"
            )
        edited = kernel_cmdline_edit.edit_text(match[2], requirements)
        becomes = text[: match.start(2)] + edited.text + text[match.end(2) :]
        write = Write(
            "kernel arguments", SETTINGS, encoded(text), encoded(becomes)
        )
        words = kernel_cmdline.split(installation.text(MAP) or "")
        is_installed = kernel_cmdline.is_satisfied(words, requirements)
        argv = (installation.tools[TOOL],)
        run = Run(
            "boot map",
            argv,
            touches=(MAP,),
            undo_argv=argv,
            is_needed=write.action is not Action.KEEP or not is_installed,
        )
        return BootloaderPlan((write, run), edited.notes)
