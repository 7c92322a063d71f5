"""rpm-ostree: arguments belong to a deployment, and it alone edits them."""

from __future__ import annotations

from gpu_passthrough_plugin.enablement.bootloader import grub_config
from gpu_passthrough_plugin.enablement.driver import (
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
from gpu_passthrough_plugin.model.change import Run
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

_BOOTED = "/run/ostree-booted"
STAGED = "/run/ostree/staged-deployment"
"""A deployment that the next shutdown makes the default."""
_TOOL = "rpm-ostree"
# Source: rpm-ostree(1), initramfs.
_IMAGES = (
    "rpm-ostree brings images that are built elsewhere: for files of this"
    " host to be in them, so that vfio-pci comes before drivers that are,"
    " run 'rpm-ostree initramfs --enable' once"
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
        return f"{_BOOTED} is there" if _BOOTED in installation.files else None

    def configured(self, installation: Installation) -> ConfiguredArguments:
        ours = loader_entries.entries(installation)
        source = {"rpm-ostree kargs": _next(installation)} if ours else {}
        return ConfiguredArguments(source, {e.path: e.arguments for e in ours})

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        tool = grub_config.tool(installation, _TOOL)
        now = _next(installation)
        right = kernel_cmdline_edit.edit_words(now, requirements)
        due = kernel_cmdline_edit.difference(now, right.words)
        # What is there already is asked for again, to be shown as kept.
        argv = (tool, "kargs", *_options(due or _whole(requirements)))
        undo = (tool, "kargs", *_options(due.inverse)) if due else ()
        run = Run(grub_config.ARGUMENTS, argv, (), undo, bool(due))
        return BootloaderPlan((run,), (*right.notes, _IMAGES))


def _options(due: kernel_cmdline_edit.Difference) -> tuple[str, ...]:
    return (
        *(f"--append-if-missing={word}" for word in due.added),
        *(f"--delete-if-present={word}" for word in due.removed),
    )


def _whole(requirements: Requirements) -> kernel_cmdline_edit.Difference:
    return kernel_cmdline_edit.Difference(
        kernel_cmdline.missing((), requirements), requirements.forbidden
    )


def _next(installation: Installation) -> tuple[str, ...]:
    """The words of the deployment that is booted next."""
    staged = installation.content(STAGED)
    if staged is not None:
        return _staged(staged)
    newest = max(
        loader_entries.entries(installation), key=_priority, default=None
    )
    return newest.arguments if newest else ()


def _staged(data: bytes) -> tuple[str, ...]:
    """Strings of the serialised deployment; its arguments are among them."""
    parts = data.decode("utf-8", "replace").split("\0")
    return tuple(part for part in parts if part.isprintable() and part)


def _priority(entry: loader_entries.LoaderEntry) -> int:
    """ostree numbers its entries: the default has the highest version."""
    return int(entry.version) if entry.version.isdecimal() else 0
