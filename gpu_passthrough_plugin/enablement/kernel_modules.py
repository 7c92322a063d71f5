"""Which modules the host loads by itself, and which it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.model.change import Write
from gpu_passthrough_plugin.model.enablement import Target
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.reads import Folder, Reads

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
    """vfio is loaded at boot, and no driver of ``blacklist`` by itself.

    :param others: every member that is no target.
    :raises Refused: when a driver of ``blacklist`` serves a display that
        stays with the host; it says which.
    """
    names = (
        own_files.loadable(installation, own_files.MODULES) if targets else ()
    )
    return (
        *own_files.write(
            installation, "load vfio at boot", LOADED, _lines("", names)
        ),
        *_blacklisted(others, installation, blacklist),
    )


def unsafe_interrupts(
    installation: Installation, *, is_wanted: bool
) -> tuple[Write, ...]:
    """Whether vfio does without interrupt remapping.

    Source: Linux, drivers/vfio/vfio_iommu_type1.c.
    """
    option = ("vfio_iommu_type1 allow_unsafe_interrupts=1",)
    text = _lines("options ", option if is_wanted else ())
    return own_files.write(
        installation, "allow unsafe interrupts", UNSAFE, text
    )


def _blacklisted(
    others: Sequence[Member],
    installation: Installation,
    blacklist: Sequence[str],
) -> tuple[Write, ...]:
    """Source: modprobe.d(5): only a module's own aliases are ignored."""
    names = tuple(sorted({_module(name) for name in blacklist}))
    faults = [fault for name in names for fault in _served(name, others)]
    if faults:
        raise errors.Refused("; ".join(faults))
    text = _lines("blacklist ", names)
    return own_files.write(
        installation, "keep drivers from loading", BLACKLIST, text
    )


def _served(name: str, others: Sequence[Member]) -> Iterator[str]:
    """A line for each display of the host that the driver serves."""
    for member in others:
        why = _service(name, member) if member.function.is_display else None
        if why:
            yield (
                f"{name} cannot be blacklisted: {member.address}, a display"
                f" that stays with the host, {why}; leave it out of the"
                " blacklist: selected functions are taken before it all"
                " the same"
            )


def _service(name: str, member: Member) -> str | None:
    """How a driver serves a function; None where it does not."""
    driver = member.function.driver
    if isinstance(driver, Unknown):
        return f"may be on it: its driver is unknown: {driver}"
    if driver is not None:
        return "is on it" if _module(driver) == name else None
    if member.detail is None:
        return "may need it: nobody looked which drivers offer themselves"
    modules = member.detail.modules
    if isinstance(modules, Unknown):
        return f"may need it: its modules are unknown: {modules}"
    offered = {m for m in map(_module, modules) if not m.startswith("vfio")}
    return "has no other driver" if offered == {name} else None


def _module(name: str) -> str:
    return name.replace("-", "_")


def _lines(prefix: str, values: Sequence[str]) -> str | None:
    """A file of a line each; None where there is nothing to say."""
    if not values:
        return None
    return own_files.HEADER + "".join(f"{prefix}{value}\n" for value in values)
