"""Which kernel modules a host loads at boot, and which it must not load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.own_files import OwnFile
from gpu_passthrough_plugin.formats import modprobe
from gpu_passthrough_plugin.model.change_history import Target
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.host_facts import HostUse
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Kernel,
    Reads,
)
from gpu_passthrough_plugin.model.reading import Unknown, known

LOADED = "/etc/modules-load.d/gpu-passthrough.conf"
BLACKLIST = "/etc/modprobe.d/gpu-passthrough-blacklist.conf"
UNSAFE = "/etc/modprobe.d/gpu-passthrough-interrupts.conf"
# A display's driver: its module, where that has another name.  Source: Linux,
# drivers/gpu/drm/tiny/bochs.c, drivers/gpu/drm/gma500/psb_drv.c.
_DISPLAY_MODULES = {"bochs_drm": "bochs", "gma500": "gma500_gfx"}
# Source: modules-load.d(5); Debian's own link leads to /etc/modules.
READS = Reads(
    files=("/etc/modules",),
    folders=(
        Folder("/etc/modprobe.d", (".conf",)),
        Folder("/etc/modules-load.d", (".conf",)),
        Folder("/usr/lib/modules-load.d", (".conf",)),
    ),
)


def check_names(blacklist: Sequence[str]) -> None:
    """Raise if a name to be blacklisted is not valid.

    :raises Faults: with each such name.
    """
    faults = tuple(
        f"blacklist {name!r} is not valid; {expected}"
        for name in blacklist
        for expected in (modprobe.blacklist_fault(name),)
        if expected
    )
    if faults:
        raise errors.Faults(faults)


def files(
    kernels: Sequence[Kernel],
    targets: Sequence[Target],
    others: Sequence[Member],
    blacklist: Sequence[str] = (),
    uses: Sequence[HostUse] | Unknown = (),
    *,
    allows_unsafe_interrupts: bool = False,
) -> tuple[OwnFile, ...]:
    """Return the files that load vfio at boot and configure modules.

    Source: Linux, drivers/vfio/vfio_iommu_type1.c
    (``allow_unsafe_interrupts``); modprobe.d(5): ``blacklist`` makes modprobe
    ignore a module's built-in aliases; it is still loaded by its name.

    :param targets: functions to be bound to vfio-pci; without any, vfio is
        not loaded.
    :param others: every function that stays with the host.
    :param uses: what the host uses functions for.
    :param allows_unsafe_interrupts: whether vfio should work without
        interrupt remapping, where a guest can send interrupts to the host.
    :raises Refused: when a module of ``blacklist`` drives a function that
        the host uses, or a display that stays with the host; the message
        names the function.
    """
    vfio = own_files.MODULES if targets else ()
    blacklisted = tuple(sorted(set(map(modprobe.normalise, blacklist))))
    faults = [
        fault
        for name in blacklisted
        for fault in _faults(name, frozenset(blacklisted), others, uses)
    ]
    if faults:
        raise errors.Refused("; ".join(faults))
    option = ("vfio_iommu_type1 allow_unsafe_interrupts=1",)
    options = option if allows_unsafe_interrupts else ()
    return (
        OwnFile(
            "load vfio at boot",
            LOADED,
            _lines("", own_files.loadable(kernels, vfio)),
        ),
        OwnFile(
            "blacklist drivers", BLACKLIST, _lines("blacklist ", blacklisted)
        ),
        OwnFile(
            "allow unsafe interrupts", UNSAFE, _lines("options ", options)
        ),
    )


def _faults(
    name: str,
    blacklisted: frozenset[str],
    others: Sequence[Member],
    uses: Sequence[HostUse] | Unknown,
) -> Iterator[str]:
    """Yield a line for each function that the host needs the module for."""
    for member in others:
        purpose = _purpose(member, uses)
        need = _need(name, blacklisted, member) if purpose else None
        if need:
            yield (
                f"{name} cannot be blacklisted: {member.address} {need}, and"
                f" {purpose}; remove {name} from the blacklist: selected"
                " functions are bound to vfio-pci before it is loaded"
            )


def _purpose(member: Member, uses: Sequence[HostUse] | Unknown) -> str | None:
    """Return what the host needs a function for; None where for nothing."""
    if member.function.is_display:
        return f"{member.address} is a display that stays with the host"
    if isinstance(uses, Unknown):
        if not member.function.may_carry_host:
            return None
        return (
            f"{member.address} may carry the host's disks or network (which"
            f" functions these use is unknown: {uses})"
        )
    purposes = [u.description for u in uses if u.address == member.address]
    if not purposes:
        return None
    return f"the host needs {member.address} for {', '.join(purposes)}"


def _need(
    name: str, blacklisted: frozenset[str], member: Member
) -> str | None:
    """Return how a function needs a module; None where it does not.

    :param blacklisted: this module and the others that go with it.
    """
    driver = member.function.driver
    if isinstance(driver, Unknown):
        return f"may use it (its driver is unknown: {driver})"
    if driver is not None:
        return _use(name, modprobe.normalise(driver), member)
    if member.detail is None:
        return "may need it (which modules match was not read)"
    modules = member.detail.modules
    if isinstance(modules, Unknown):
        return f"may need it (its modules are unknown: {modules})"
    matching = {
        module
        for module in map(modprobe.normalise, modules)
        if not module.startswith("vfio")
    }
    has_no_other = name in matching and matching <= blacklisted
    return "has no other driver" if has_no_other else None


def _use(name: str, driver: str, member: Member) -> str | None:
    """Return how a function's driver depends on a module; None if not.

    The driver of a USB controller or an SMBus has another name than its
    module (xhci_hcd and xhci_pci).  Few of displays do, and a module of
    theirs may have another name than it was built with (nvidia-current), so
    that any other match says nothing.
    """
    if driver == name or _DISPLAY_MODULES.get(driver) == name:
        return "uses it"
    if member.function.is_display or member.detail is None:
        return None
    modules = known(member.detail.modules) or ()
    matching = frozenset(map(modprobe.normalise, modules))
    if name in matching and driver not in matching:
        return f"may use it (its driver is called {driver})"
    return None


def _lines(prefix: str, values: Sequence[str]) -> str | None:
    """Return a file with a line for each value; None without any."""
    if not values:
        return None
    return own_files.HEADER + "".join(f"{prefix}{value}\n" for value in values)
