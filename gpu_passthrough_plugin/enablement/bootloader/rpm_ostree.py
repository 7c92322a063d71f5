"""rpm-ostree: arguments belong to a deployment, and it alone edits them."""

from __future__ import annotations

from gpu_passthrough_plugin.enablement.bootloader import grub2
from gpu_passthrough_plugin.enablement.driver import (
    STEP_ARGUMENTS,
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import (
    kernel_cmdline,
    kernel_cmdline_edit,
    loader_entries,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.formats.kernel_cmdline_edit import Difference
from gpu_passthrough_plugin.formats.loader_entries import LoaderEntry
from gpu_passthrough_plugin.model.change import Run
from gpu_passthrough_plugin.model.installation import Installation, Reads

_BOOTED = "/run/ostree-booted"
STAGED = "/run/ostree/staged-deployment"
"""A deployment that becomes the default at the next shutdown."""
_TOOL = "rpm-ostree"
# Source: rpm-ostree(1), initramfs.
_IMAGES = (
    "rpm-ostree installs initramfs images that are built elsewhere: run"
    " 'rpm-ostree initramfs --enable' once for images to hold files of this"
    " host, so that vfio-pci loads before drivers that are in them"
)


class RpmOstree(BootloaderDriver):
    """What it changes is a new deployment, for the next boot.

    Source: rpm-ostree(1), kargs; ostree-finalize-staged.service(8).
    """

    name = "rpm_ostree"
    precedence = 10
    reads = loader_entries.READS | Reads(
        files=(_BOOTED, STAGED), tools=(_TOOL,)
    )

    def claims(self, installation: Installation) -> str | None:
        return f"{_BOOTED} exists" if _BOOTED in installation.files else None

    def configured(self, installation: Installation) -> ConfiguredArguments:
        entries = loader_entries.entries(installation)
        sources = (
            {"rpm-ostree kargs": _next_arguments(installation)}
            if entries
            else {}
        )
        return ConfiguredArguments(
            sources, {entry.path: entry.arguments for entry in entries}
        )

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        tool = grub2.tool(installation, _TOOL)
        words = _next_arguments(installation)
        edited = kernel_cmdline_edit.edit_words(words, requirements)
        due = kernel_cmdline_edit.difference(words, edited.words)
        # What is in effect already is in the command that is shown as kept.
        shown = due or Difference(
            kernel_cmdline.missing((), requirements), requirements.forbidden
        )
        run = Run(
            STEP_ARGUMENTS,
            (tool, "kargs", *_options(shown)),
            undo_argv=(tool, "kargs", *_options(due.inverse)) if due else (),
            is_needed=bool(due),
        )
        return BootloaderPlan((run,), (*edited.notes, _IMAGES))


def _options(due: Difference) -> tuple[str, ...]:
    return (
        *(f"--append-if-missing={word}" for word in due.added),
        *(f"--delete-if-present={word}" for word in due.removed),
    )


def _next_arguments(installation: Installation) -> tuple[str, ...]:
    """Return the words of the deployment that is booted next."""
    staged = installation.content(STAGED)
    if staged is not None:
        return _strings(staged)
    entries = loader_entries.entries(installation)
    newest = max(entries, key=_priority, default=None)
    return newest.arguments if newest else ()


def _strings(serialised: bytes) -> tuple[str, ...]:
    """Return the strings of a deployment; its arguments are among them."""
    parts = serialised.decode("utf-8", "replace").split("\0")
    return tuple(part for part in parts if part.isprintable() and part)


def _priority(entry: LoaderEntry) -> int:
    """Return ostree's number of an entry: the default has the highest."""
    return int(entry.version) if entry.version.isdecimal() else 0
