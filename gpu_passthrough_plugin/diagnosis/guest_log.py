"""What a guest's own log says, explained with the facts of its host.

A guest's addresses are its own, so that a message is set beside all of the
host's cards that it may be about: those of the vendor whose driver wrote it,
on a VFIO driver where any is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.evidence import (
    Cause,
    Confidence,
    Evidence,
)
from gpu_passthrough_plugin.formats import kernel_log, kernel_messages
from gpu_passthrough_plugin.model import fabric as fabrics
from gpu_passthrough_plugin.model.address_space import (
    MIB,
    Firmware,
    needed_bytes,
    shown,
)
from gpu_passthrough_plugin.model.fabric import SHARED, VGPU
from gpu_passthrough_plugin.model.function import AMD, NVIDIA, BarKind
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.reading import known

_SHOWN = 8
_MOST = 1000

_NO_ADDRESSES = re.compile(
    r"BAR\d is 0M @ 0x0|BAR \d.*(no space|can't assign|failed to assign"
    r"|not assigned)|Address space limit 0x[0-9a-f]+ < 0x[0-9a-f]+"
    r"|\bCode 12\b|CM_PROB_NORMAL_CONFLICT",
    re.IGNORECASE,
)
# Source: CUDA Driver API, CUresult.
_FABRIC = re.compile(
    r"\berror:? 802\b|system not yet initialized|SystemNotReady"
    r"|SYSTEM_NOT_READY|Fabric\S* .*(In Progress|Insufficient Permissions)",
    re.IGNORECASE,
)
# Source: Microsoft, "Error codes in Device Manager" (CM_PROB_FAILED_ADD).
_CODE_43 = re.compile(
    r"\bcode 43\b|CM_PROB_FAILED_POST_START|Windows has stopped this device",
    re.IGNORECASE,
)
_NO_ROM = re.compile(
    r"Unable to locate a BIOS ROM|no vBIOS found"
    r"|Invalid PCI ROM header signature",
    re.IGNORECASE,
)
_PROBE_FAILED = re.compile(
    r"probe (of \S+|with driver \S+) failed with error -\d+"
    r"|RmInitAdapter failed!",
    re.IGNORECASE,
)
_NOT_VIABLE = re.compile(r"group (?P<number>\d+) is not viable", re.IGNORECASE)
# Source: QEMU, hw/vfio/pci.c (vfio_pci_hot_reset, vfio_pci_reset).
_NOT_RESET = re.compile(
    r"Cannot reset device (?P<address>[0-9a-f:.]+), (no available reset"
    r"|depends on group (?P<number>\d+) which is not owned)",
    re.IGNORECASE,
)
_LOST = (
    kernel_messages.FALLEN_OFF,
    kernel_messages.XID,
    kernel_messages.NOT_AWAKE,
    kernel_messages.GPU_LOST,
    kernel_messages.DEVICE_LOST,
)
_PATTERNS = (
    _NO_ADDRESSES, _FABRIC, kernel_messages.NVLINK_XID, _NOT_VIABLE, *_LOST,
    _NOT_RESET, _NO_ROM, _CODE_43, _PROBE_FAILED,
)  # fmt: skip
_NVIDIA_WORDS = re.compile(
    r"NVRM|\bnvidia\b|RmInitAdapter|\bCUDA\b", re.IGNORECASE
)
_AMD_WORDS = re.compile(r"amdgpu|atombios|\bPSP\b", re.IGNORECASE)


class GuestCase(NamedTuple):
    """A guest's log, with what is known of its host.

    :param messages: of the guest's kernel, of QEMU or of Windows, oldest
        first.
    """

    messages: tuple[str, ...]
    evidence: Evidence

    def candidates(self, line: str) -> tuple[Member, ...]:
        """Return the host's cards that a message may be about."""
        vendors = [
            vendor
            for words, vendor in (
                (_NVIDIA_WORDS, NVIDIA),
                (_AMD_WORDS, AMD),
            )
            if words.search(line)
        ]
        cards = tuple(
            m
            for m in self.evidence.members
            if (m.function.is_display or m.function.is_accelerator)
            and (not vendors or m.function.vendor_id in vendors)
        )
        return tuple(m for m in cards if m.is_on_vfio is True) or cards


GuestRule = Callable[[GuestCase], Cause | None]


def no_address_space(case: GuestCase) -> Cause | None:
    """Find that the guest had no addresses for a card's memory."""
    line = _first(case, _NO_ADDRESSES)
    if line is None:
        return None
    members = case.candidates(line)
    slots = {
        m.address: known(m.detail.bars) or ()
        for m in members
        if m.detail is not None
    }
    host = ", ".join(
        f"{address} {shown(max(bar.size_bytes for bar in bars))}"
        for address, bars in list(slots.items())[:_SHOWN]
        if bars
    )
    needed = needed_bytes(slots.values(), BarKind.HIGH, Firmware.OVMF)
    return Cause(
        "guest-no-address-space",
        Confidence.CERTAIN,
        "the guest had no addresses for a BAR of its card"
        + (f"; the largest BARs of the host's cards: {host}" if host else ""),
        line,
        "give the guest more address bits (Nova:"
        " hw:maxphysaddr_mode=passthrough; libvirt: <maxphysaddr"
        " mode='passthrough'/>) and a firmware that uses them (OVMF from"
        " 2023 on); with an older OVMF set -fw_cfg"
        " name=opt/ovmf/X-PciMmio64Mb,string="
        f"{_window_mib(needed)}",
    )


def fabric_not_ready(case: GuestCase) -> Cause | None:
    """Find that the NVLink fabric of the guest's GPUs is not set up."""
    line = _first(case, _FABRIC) or _first(case, kernel_messages.NVLINK_XID)
    if line is None:
        return None
    fabric = fabrics.fabric(m.function for m in case.evidence.members)
    name = "guest-fabric"
    if fabric is None:
        return Cause(
            name,
            Confidence.POSSIBLE,
            "the guest's GPUs wait for an NVLink fabric, and no NVSwitch of"
            " the host is known (those of HGX B200 and GB200 are no PCI"
            " functions of the host)",
            line,
            "check that Fabric Manager runs where the NVSwitches are, in the"
            " version of the driver",
        )
    mode = case.evidence.facts.fabric_mode
    text = (
        f"the guest's GPUs are on an NVLink fabric that is not set up for"
        f" them: {fabric}; {fabrics.mode_description(mode)}"
    )
    if fabric.given:
        text = (
            f"{text}; {fabrics.addresses(fabric.given)} on vfio-pci, in"
            " another guest or in this one"
        )
        fix = (
            "give all GPUs and all NVSwitches to one guest, which runs Fabric"
            " Manager; for several guests leave the NVSwitches to the host's"
            " driver, with FABRIC_MODE=1"
        )
    elif isinstance(mode, int) and mode not in (SHARED, VGPU):
        fix = (
            f"set FABRIC_MODE=1 (2 for vGPUs) in {fabrics.MANAGER_PATH} on"
            " the host, restart nvidia-fabricmanager while no guest has any"
            " of the GPUs, and activate the guest's partition ('fmpm -a')"
            " before it starts"
        )
    else:
        fix = (
            "list the partitions with 'fmpm -l' on the host, give the guest"
            " the GPUs of one, and activate it ('fmpm -a') before the guest"
            " starts"
        )
    return Cause(name, Confidence.LIKELY, text, line, fix)


def group_not_viable(case: GuestCase) -> Cause | None:
    """Find that a driver of the host has a function of the guest's group."""
    line = _first(case, _NOT_VIABLE)
    match = _NOT_VIABLE.search(line or "")
    if line is None or match is None:
        return None
    number = int(match["number"])
    members = [
        m for m in case.evidence.members if m.function.iommu_group == number
    ]
    others = [
        f"{m.address} ({m.function.driver})"
        for m in members
        if m.role.is_assigned
        and isinstance(m.function.driver, str)
        and m.is_on_vfio is False
    ]
    text = (
        f"a driver of the host has a function of IOMMU group {number}"
        + (f": {', '.join(others)}" if others else "")
        if members
        else f"this host has no IOMMU group {number}: the log may be of"
        " another host's guest, or of an earlier boot"
    )
    return Cause(
        "guest-group-not-viable",
        Confidence.CERTAIN if others else Confidence.POSSIBLE,
        text,
        line,
        f"run 'gpu-passthrough group show {number}' on its host: assign the"
        " group whole, or leave it to the host if that says so",
    )


def not_reset(case: GuestCase) -> Cause | None:
    """Find that QEMU could not reset a function alone, or with its bus."""
    line = _first(case, _NOT_RESET)
    match = _NOT_RESET.search(line or "")
    if line is None or match is None:
        return None
    address, number = match["address"], match["number"]
    fix = (
        f"give the guest group {number} as well, or leave {address} to the"
        " host: the reset of their bus resets both"
        if number
        else "give the guest all functions of the card, which are reset"
        " together; where it has them and the host runs Linux 6.12.23, which"
        " refuses such a reset by mistake, boot another release"
    )
    sure = Confidence.CERTAIN if number else Confidence.POSSIBLE
    text = f"QEMU did not reset {address} before the guest"
    return Cause("guest-not-reset", sure, text, line, fix)


def card_lost(case: GuestCase) -> Cause | None:
    """Find that the card stopped responding while the guest had it."""
    line = next(
        (message for pattern in _LOST if (message := _first(case, pattern))),
        None,
    )
    if line is None or "RmInitAdapter" in line:
        return None
    without = [
        str(m.address)
        for m in case.candidates(line)
        if m.detail is not None and m.detail.reset_methods == ()
    ]
    return Cause(
        "guest-card-lost",
        Confidence.LIKELY,
        "the card stopped responding, or was not reset before this guest"
        + (
            f"; the host has no reset for {', '.join(without)}"
            if without
            else ""
        ),
        line,
        "power-cycle the host; if it happens at every second start, install a"
        " reset module for the card where there is one (vendor-reset for"
        " AMD), or assign the card once per boot",
    )


def no_rom(case: GuestCase) -> Cause | None:
    """Find that the guest's driver could not read the card's ROM."""
    line = _first(case, _NO_ROM)
    if line is None:
        return None
    primary = [
        str(m.address)
        for m in case.candidates(line)
        if m.detail is not None and m.detail.boot_vga is True
    ]
    return Cause(
        "guest-no-rom",
        Confidence.LIKELY if primary else Confidence.POSSIBLE,
        "the guest could not read the ROM of its card"
        + (
            f"; {', '.join(primary)} is the host's primary display, whose ROM"
            " the firmware changed"
            if primary
            else ""
        ),
        line,
        "give the card's ROM as a file (libvirt: <rom file='…'/>), or let the"
        " firmware use another display first",
    )


def code_43(case: GuestCase) -> Cause | None:
    """Find that Windows stopped the card's driver."""
    line = _first(case, _CODE_43)
    if line is None:
        return None
    vendors = {m.function.vendor_id for m in case.candidates(line)}
    if AMD in vendors and NVIDIA not in vendors:
        text = (
            "Windows stopped the driver of an AMD card; most often because the"
            " card was not reset since its last guest"
        )
        fix = (
            "power-cycle the host; if that helps once, install vendor-reset"
            " on the host, or assign the card once per boot"
        )
    else:
        text = (
            "Windows stopped the driver of the card; NVIDIA's before version"
            " 465 refuses to run in a guest"
        )
        fix = (
            "update the driver in the guest; if it is newer, look for another"
            " cause: no addresses for a BAR, a ROM that cannot be read, a card"
            " that was not reset, or a vGPU without a licence"
        )
    return Cause("guest-code-43", Confidence.POSSIBLE, text, line, fix)


def driver_failed(case: GuestCase) -> Cause | None:
    """Find that the guest's driver gave up; for where no rule says why."""
    line = _first(case, _PROBE_FAILED)
    if line is None:
        return None
    return Cause(
        "guest-driver-failed",
        Confidence.POSSIBLE,
        "the guest's driver could not start the card",
        line,
        "check the lines before that one in the guest; that the guest's"
        " driver supports the card (NVIDIA's from Blackwell on need the open"
        " kernel modules); and power-cycle the host if it worked before",
    )


_EXPLANATIONS: tuple[GuestRule, ...] = (
    group_not_viable,
    no_address_space,
    fabric_not_ready,
    not_reset,
    card_lost,
    no_rom,
    code_43,
)
NAMES = (
    "guest-group-not-viable", "guest-no-address-space", "guest-fabric",
    "guest-not-reset", "guest-card-lost", "guest-no-rom", "guest-code-43",
    "guest-driver-failed",
)  # fmt: skip
"""The name of each cause, in the order of starting; the guide has each."""


def relevant(messages: Iterable[str]) -> tuple[str, ...]:
    """Return the messages that a rule reads; of too many, the oldest."""
    kept = (
        line
        for line in messages
        if any(pattern.search(line) for pattern in _PATTERNS)
    )
    return tuple(itertools.islice(kept, _MOST))


def causes(messages: Sequence[str], evidence: Evidence) -> tuple[Cause, ...]:
    """Return what explains a guest's messages, in the order of starting.

    :param messages: oldest first, without times.
    """
    case = GuestCase(tuple(messages), evidence)
    explained = [c for rule in _EXPLANATIONS if (c := rule(case)) is not None]
    last = None if explained else driver_failed(case)
    return (*explained, *([last] if last else ()))


def _first(case: GuestCase, pattern: re.Pattern[str]) -> str | None:
    line = kernel_log.first(case.messages, pattern)
    return None if line is None else line.strip()


def _window_mib(needed: int) -> int:
    """Return a window for BARs: a power of two, of 64 GiB or more."""
    return max(1 << (needed // MIB).bit_length(), 64 << 10)
