"""Plans for described systems, and what systems are after them."""

from __future__ import annotations

import re

from gpu_passthrough_plugin.enablement.bootloader.debian import Debian
from gpu_passthrough_plugin.enablement.bootloader.grub2 import Grub2
from gpu_passthrough_plugin.enablement.bootloader.grubby import Grubby
from gpu_passthrough_plugin.enablement.bootloader.proxmox import Proxmox
from gpu_passthrough_plugin.enablement.bootloader.rpm_ostree import RpmOstree
from gpu_passthrough_plugin.enablement.bootloader.suse import Suse
from gpu_passthrough_plugin.enablement.bootloader.systemd_boot import (
    SystemdBoot,
)
from gpu_passthrough_plugin.enablement.driver import (
    BootloaderDriver,
    BootloaderPlan,
)
from gpu_passthrough_plugin.formats import kernel_cmdline_edit
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import NEW_PATH, Run, Write
from gpu_passthrough_plugin.model.installation import Installation
from tests.trees.host import Host
from tests.trees.installed import installation
from tests.trees.systems import SYSTEMS

DRIVERS: tuple[BootloaderDriver, ...] = (
    Debian(), Grub2(), Grubby(), Proxmox(), RpmOstree(), Suse(),
    SystemdBoot(),
)  # fmt: skip
ON = Requirements(("intel_iommu=on",), ("intel_iommu=off", "iommu=off"))
ALL = ON | Requirements(
    ("rd.driver.pre=vfio-pci",),
    (),
    (("vfio-pci.ids", ("10de:24b0", "10de:228b")),),
)
ALL_WORDS = (
    "intel_iommu=on rd.driver.pre=vfio-pci vfio-pci.ids=10de:24b0,10de:228b"
)
# Lines that a boot loader, or its generator, reads words from.
_LINE = re.compile(
    r"^(\s*linux(?:16|efi)?\s+\S+\s+|options\s+|kernelopts=)(.*)$",
    re.MULTILINE,
)


def system(name: str) -> Installation:
    return installed(SYSTEMS[name]())


def installed(host: Host) -> Installation:
    return installation(host.tree())


def chosen(here: Installation) -> BootloaderDriver:
    """The driver that claims it first."""
    ordered = sorted(DRIVERS, key=lambda driver: driver.precedence)
    return next(driver for driver in ordered if driver.claims(here))


def plan(
    here: Installation, requirements: Requirements = ALL
) -> BootloaderPlan:
    return chosen(here).plan(here, requirements)


def writes(of: BootloaderPlan) -> dict[str, str | None]:
    """What each written file becomes, where it changes."""
    return {
        change.path: change.becomes.decode() if change.becomes else None
        for change in of.changes
        if isinstance(change, Write) and change.was != change.becomes
    }


def runs(of: BootloaderPlan) -> list[Run]:
    return [change for change in of.changes if isinstance(change, Run)]


def argv(of: BootloaderPlan) -> list[tuple[str, ...]]:
    """The commands that are to be run, with where they write to."""
    return [
        tuple(word.replace(NEW_PATH, run.output) for word in run.argv)
        for run in runs(of)
        if run.is_needed
    ]


def written(here: Installation, of: BootloaderPlan) -> Installation:
    """The system after the plan's writes, and before its commands."""
    files = dict(here.files)
    folders = dict(here.folders)
    for change in of.changes:
        if not isinstance(change, Write):
            continue
        folder, _, name = change.path.rpartition("/")
        names = set(folders.get(folder, ())) - {name}
        if change.becomes is None:
            files.pop(change.path, None)
        else:
            files[change.path] = change.becomes
            names.add(name)
        folders[folder] = tuple(sorted(names))
    return here._replace(files=files, folders=folders)


def booted(
    here: Installation, of: BootloaderPlan, requirements: Requirements
) -> Installation:
    """The system after the whole plan: menus and entries say it too."""
    after = written(here, of)
    files = dict(after.files)
    for path, data in files.items():
        if path.startswith("/boot/") and isinstance(data, bytes):
            files[path] = _told(data.decode(), requirements).encode()
    return after._replace(files=files)


def _told(text: str, requirements: Requirements) -> str:
    return _LINE.sub(lambda m: m[1] + _line(m[2], requirements), text)


def _line(line: str, requirements: Requirements) -> str:
    if line.startswith("$kernelopts"):
        return line
    return kernel_cmdline_edit.edit_text(line, requirements).text
