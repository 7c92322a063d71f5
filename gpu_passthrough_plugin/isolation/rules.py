"""Each reason against assigning a group, as a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.isolation import acs, cards, host_needs, iommu
from gpu_passthrough_plugin.isolation.partition import Part, Policy
from gpu_passthrough_plugin.model.function import (
    Header,
    PhysicalFunction,
)
from gpu_passthrough_plugin.model.group import (
    IN_USE,
    NO_PRIMARY,
    RESERVED_REGION,
    SRIOV_ENABLED,
    Member,
    Reason,
    Role,
)
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, shown


class GroupCase(NamedTuple):
    """One group and all that a rule may look at.

    :param endpoints: the members that are not bridges.
    """

    part: Part
    endpoints: tuple[Member, ...]
    facts: HostFacts
    policy: Policy


def make_case(part: Part, facts: HostFacts, policy: Policy) -> GroupCase:
    """Return what the rules look at, the endpoints found once for all."""
    endpoints = [m for m in part.members if m.role.is_assigned]
    return GroupCase(part, tuple(endpoints), facts, policy)


def no_iommu(case: GroupCase) -> Iterator[Reason]:
    """Refuse what no IOMMU isolates: a function in no group, or VFIO's own."""
    reason = iommu.lack(case.part, case.facts)
    if reason is not None:
        yield reason


def reserved_regions(case: GroupCase) -> Iterator[Reason]:
    """Refuse a group with memory that the firmware wants mapped one to one.

    The kernel refuses such a group to VFIO.  Source: Linux,
    drivers/iommu/intel/iommu.c and drivers/iommu/iommu.c
    (``require_direct``), where "relaxable" regions are no obstacle.
    """
    attributes = case.part.attributes
    if attributes is None:
        return
    regions = attributes.reserved_regions
    if isinstance(regions, Unknown):
        if regions is not MISSING:
            yield Reason(
                "incomplete",
                f"the reserved regions of group {case.part.number} are"
                f" unknown: {regions}",
                iommu.AS_ROOT,
            )
        return
    direct = [
        f"{region.first:#x}-{region.last:#x}"
        for region in regions
        if region.kind == "direct"
    ]
    if direct:
        yield Reason(
            RESERVED_REGION,
            f"the firmware reserves {', '.join(direct)} for a function of"
            f" group {case.part.number} (RMRR, IVMD or RMR), and the kernel"
            " refuses such a group to guests",
            "switch the firmware's feature off that uses this memory (such"
            " as shared memory for the slot on HPE servers), or leave the"
            " group to the host",
        )


def unisolated(case: GroupCase) -> Iterator[Reason]:
    """Refuse what the hardware may not isolate, if the policy does."""
    if case.policy.refuses_unisolated:
        yield from acs.reasons(case.part, case.facts)


def strays(case: GroupCase) -> Iterator[Reason]:
    """Refuse a group that may have another member: its group is unknown."""
    for address in case.part.strays:
        yield Reason(
            "incomplete",
            f"{address} may belong to this group: which group it is in is"
            " unknown",
            iommu.AS_ROOT,
        )


def no_primary(case: GroupCase) -> Iterator[Reason]:
    """Refuse a group without a function that the operator selected."""
    if case.part.has_primary:
        return
    fabric = case.part.fabric
    if fabric is not None:
        yield Reason(
            NO_PRIMARY,
            "not selected; it stays with the host, as"
            f" an NVSwitch of the NVLink fabric of {fabric}",
            "leave NVSwitches to the host's driver, which Fabric Manager"
            " needs; only one guest with all GPUs may have all of them",
        )
    elif bridges := case.part.selected_bridges(case.policy):
        yield Reason(
            NO_PRIMARY,
            "the selection matches only bridges of it"
            f" ({', '.join(bridges)}), which no guest can have",
            "select a device instead, by its address or its ids",
        )
    else:
        yield Reason(
            NO_PRIMARY,
            "not selected",
            "run 'gpu-passthrough host enable --select ADDRESS' with the"
            " address of a member to offer this group",
        )


def _give_up(case: GroupCase, member: Member) -> str:
    """Return how to free a group of a function that the host needs.

    A card that shares its group with another device may have a group of its
    own in another slot.
    """
    primaries = [m for m in case.endpoints if m.role is Role.PRIMARY]
    is_card = any(
        m.address.slot_address == member.address.slot_address
        for m in primaries
    )
    if not primaries or is_card:
        return (
            "move that to another device first, or leave the group to the host"
        )
    names = ", ".join(str(m.address) for m in primaries)
    return (
        f"move the card ({names}) to a slot where it does not share a group"
        " with that device, or let the host use another device for that; else"
        " leave the group to the host"
    )


def host_critical(case: GroupCase) -> Iterator[Reason]:
    """Refuse a group that the host needs, whatever was selected."""
    for member in case.endpoints:
        for text in host_needs.uses(member, case.facts):
            yield Reason("host-critical", text, _give_up(case, member))
        text = host_needs.doubt(member, case.facts)
        if text:
            yield Reason(
                "host-critical",
                text,
                "run this on the host, or on a recording made with"
                " 'gpu-passthrough host record'",
            )


def console(case: GroupCase) -> Iterator[Reason]:
    """Refuse the only console, and a BMC's display: the remote console."""
    for member in case.endpoints:
        text = host_needs.console(member, case.facts)
        if host_needs.is_bmc(member.function):
            yield Reason("bmc-display", text, "leave it to the host")
        elif text:
            yield Reason(
                "only-console",
                text,
                "add a serial console (console=tty0 console=ttyS0), or select"
                " another primary display in the firmware setup",
            )


def dead(case: GroupCase) -> Iterator[Reason]:
    """Refuse a member that does not respond, or whose state is unknown."""
    for member in case.endpoints:
        if member.detail is None:
            continue
        header = member.detail.header
        if header is Header.DEAD:
            yield Reason(
                "dead",
                f"{member.address} does not respond: its config space reads"
                " ff",
                "power-cycle the host; search the kernel log for D3cold or a"
                " failed reset",
            )
        elif isinstance(header, Unknown):
            yield Reason(
                "dead",
                f"whether {member.address} responds is unknown: config space"
                f" {header}",
                iommu.AS_ROOT,
            )


def identity(case: GroupCase) -> Iterator[Reason]:
    """Refuse a member whose ids, class or driver could not be read."""
    for member in case.endpoints:
        function = member.function
        for name, value in (
            ("vendor id", function.vendor_id),
            ("product id", function.product_id),
            ("class", function.class_code),
            ("driver", function.driver),
        ):
            if isinstance(value, Unknown):
                yield Reason(
                    "identity",
                    f"the {name} of {member.address} is unknown: {value}",
                    iommu.AS_ROOT,
                )


def in_use(case: GroupCase) -> Iterator[Reason]:
    """Refuse a function that carries a vGPU of a guest, or could.

    Source: NVIDIA, Virtual GPU Software User Guide (vendor-specific VFIO;
    for mediated devices, "Creating an NVIDIA vGPU on a GPU That Supports
    SR-IOV").
    """
    for member in case.endpoints:
        if member.detail is None:
            continue
        running = member.detail.mediated_devices
        vgpu_type = member.detail.vgpu_type
        if isinstance(running, Unknown) or isinstance(vgpu_type, Unknown):
            why = running if isinstance(running, Unknown) else vgpu_type
            text = f"may carry a running vGPU: it is unknown ({why})"
            yield Reason(IN_USE, f"{member.address} {text}", iommu.AS_ROOT)
        elif running:
            yield Reason(
                IN_USE,
                f"{member.address} carries a running vGPU"
                f" ({', '.join(running)})",
                "stop its guest, then write 1 to"
                f" /sys/bus/mdev/devices/{running[0]}/remove",
            )
        elif vgpu_type:
            yield Reason(
                IN_USE,
                f"{member.address} carries a vGPU (type {vgpu_type}), which a"
                " guest may use",
                "stop its guest; once no process has the vGPU open, write 0"
                f" to /sys/bus/pci/devices/{member.address}"
                "/nvidia/current_vgpu_type",
            )
        elif vgpu_type is not None:
            yield Reason(
                IN_USE,
                f"{member.address} is a place for a vGPU, and has to stay on"
                f" driver {shown(member.function.driver)}",
                "hand out vGPUs with Nova's own device_spec (managed: no) or"
                " [devices] enabled_mdev_types, or disable the virtual"
                " functions to assign the whole card",
            )


def sriov(case: GroupCase) -> Iterator[Reason]:
    """Refuse a physical function whose virtual functions are enabled."""
    for member in case.endpoints:
        role = member.detail.sriov if member.detail else None
        used = [v for v in case.part.used_vfs if v.physical == member.address]
        if used:
            users = ", ".join(f"{v.address} ({v.use})" for v in used)
            yield Reason(
                IN_USE,
                f"guests may use virtual functions of {member.address}:"
                f" {users}",
                "select the virtual functions instead; or stop the guests that"
                f" use them, then write 0 to sriov_numvfs of {member.address}",
            )
        elif isinstance(role, PhysicalFunction) and role.enabled_vfs:
            yield Reason(
                SRIOV_ENABLED,
                f"{member.address} has {role.enabled_vfs} virtual functions"
                " enabled",
                "select the virtual functions instead; or stop the guests that"
                f" use them, then write 0 to sriov_numvfs of {member.address}",
            )
        elif isinstance(role, Unknown):
            yield Reason(
                SRIOV_ENABLED,
                f"whether {member.address} has virtual functions enabled"
                f" is unknown: {role}",
                iommu.AS_ROOT,
            )


def outside_policy(case: GroupCase) -> Iterator[Reason]:
    """Refuse a member that the operator excluded or did not select."""
    chosen = {m.card for m in case.endpoints if m.role is Role.PRIMARY}
    for member in case.endpoints:
        if case.policy.is_excluded(member.function):
            yield Reason(
                "excluded",
                f"{member.address} is excluded by [discovery] exclude",
                f"remove {member.address} from [discovery] exclude to offer"
                " the group",
            )
        elif (
            chosen
            and member.card not in chosen
            and not host_needs.uses(member, case.facts)
        ):
            yield Reason(
                "not-selected",
                f"{member.address} is in the group, but not on a selected"
                f" card; the host would lose it{_on_driver(member)}",
                _remedy_for_unselected(case, member),
            )


def _may_be_needed(case: GroupCase, member: Member) -> bool:
    """Return whether the host may reach disks or networks over it.

    What has a driver may be needed tomorrow, though it carries nothing now.
    """
    is_idle = member.function.driver is None
    is_known = not isinstance(case.facts.uses, Unknown)
    return member.function.may_carry_host and not (is_idle and is_known)


def _on_driver(member: Member) -> str:
    driver = member.function.driver
    return f" (driver {driver})" if isinstance(driver, str) else ""


def _remedy_for_unselected(case: GroupCase, member: Member) -> str:
    """Return what to do about a member that nobody selected.

    Selecting it is advised only where the host can spare it.
    """
    slots = {
        m.address.slot_address
        for m in case.endpoints
        if m.role is Role.PRIMARY
    }
    if member.address.slot_address in slots:
        return (
            "leave the group to the host: these functions are parts of the"
            " host's processor or board"
        )
    if cards.is_chipset(member.function) or _may_be_needed(case, member):
        return (
            "move the card to a slot whose group it does not share with the"
            " host's own devices, or leave the group to the host"
        )
    # The first selection that is made is all that is selected.
    together = ",".join(
        str(m.address)
        for m in case.endpoints
        if m.role is Role.PRIMARY or m.address == member.address
    )
    return (
        f"run 'gpu-passthrough host enable --select {together}' to pass"
        f" {member.address} through as well, or move the card to another slot"
    )


RULES: tuple[Callable[[GroupCase], Iterator[Reason]], ...] = (
    no_iommu,
    reserved_regions,
    unisolated,
    strays,
    no_primary,
    host_critical,
    console,
    dead,
    identity,
    in_use,
    sriov,
    outside_policy,
)
