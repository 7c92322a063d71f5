"""Which kernel modules a host loads at boot, and which it must not load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.formats import modprobe
from gpu_passthrough_plugin.model.change import Write
from gpu_passthrough_plugin.model.change_history import Target
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Reads,
)
from gpu_passthrough_plugin.model.reading import Unknown

LOADED = "/etc/modules-load.d/gpu-passthrough.conf"
BLACKLIST = "/etc/modprobe.d/gpu-passthrough-blacklist.conf"
UNSAFE = "/etc/modprobe.d/gpu-passthrough-interrupts.conf"
# Source: modules-load.d(5); Debian's /etc/modules is a part of it.
READS = Reads(
    files=("/etc/modules",),
    folders=(
        Folder("/etc/modprobe.d", (".conf",)),
        Folder("/etc/modules-load.d", (".conf",)),
        Folder("/usr/lib/modules-load.d", (".conf",)),
    ),
)


def changes(
    targets: Sequence[Target],
    others: Sequence[Member],
    installation: Installation,
    blacklist: Sequence[str],
) -> tuple[Write, ...]:
    """Return what loads vfio at boot, and blacklists these modules.

    :param others: every function that is no target.
    :raises Refused: when a module of ``blacklist`` drives a display that
        stays with the host; the message names the display.
    """
    names = own_files.loadable(installation, own_files.MODULES)
    return (
        *own_files.write(
            installation,
            "load vfio at boot",
            LOADED,
            _lines("", names if targets else ()),
        ),
        *_blacklist(others, installation, blacklist),
    )


def unsafe_interrupts(
    installation: Installation, *, is_allowed: bool
) -> tuple[Write, ...]:
    """Return what has vfio work without interrupt remapping, or not.

    Source: Linux, drivers/vfio/vfio_iommu_type1.c.
    """
    option = ("vfio_iommu_type1 allow_unsafe_interrupts=1",)
    text = _lines("options ", option if is_allowed else ())
    return own_files.write(
        installation, "allow unsafe interrupts", UNSAFE, text
    )


def _blacklist(
    others: Sequence[Member],
    installation: Installation,
    blacklist: Sequence[str],
) -> tuple[Write, ...]:
    """Source: modprobe.d(5): only a module's own aliases are ignored."""
    names = tuple(sorted(set(map(modprobe.normalise, blacklist))))
    faults = [fault for name in names for fault in _faults(name, others)]
    if faults:
        raise errors.Refused("; ".join(faults))
    text = _lines("blacklist ", names)
    return own_files.write(installation, "blacklist drivers", BLACKLIST, text)


def _faults(name: str, others: Sequence[Member]) -> Iterator[str]:
    """Yield a line for each display of the host that needs the module."""
    for member in others:
        need = _need(name, member) if member.function.is_display else None
        if need:
            yield (
                f"{name} cannot be blacklisted: {member.address}, a display"
                f" that stays with the host, {need}; remove {name} from the"
                " blacklist (selected functions are bound to vfio-pci before"
                " it loads anyway)"
            )


def _need(name: str, member: Member) -> str | None:
    """Return how a function needs a module; None where it does not."""
    driver = member.function.driver
    if isinstance(driver, Unknown):
        return f"may use it: its driver is unknown: {driver}"
    if driver is not None:
        return "uses it" if modprobe.normalise(driver) == name else None
    if member.detail is None:
        return "may need it: which modules match was not read"
    modules = member.detail.modules
    if isinstance(modules, Unknown):
        return f"may need it: its modules are unknown: {modules}"
    matching = {
        module
        for module in map(modprobe.normalise, modules)
        if not module.startswith("vfio")
    }
    return "has no other driver" if matching == {name} else None


def _lines(prefix: str, values: Sequence[str]) -> str | None:
    """Return a file with a line for each value; None without any."""
    if not values:
        return None
    return own_files.HEADER + "".join(f"{prefix}{value}\n" for value in values)
