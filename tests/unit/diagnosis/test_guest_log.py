"""Logs of guests in public reports, with facts of their hosts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gpu_passthrough_plugin.diagnosis import guest_log
from gpu_passthrough_plugin.diagnosis.evidence import (
    Cause,
    Confidence,
    Evidence,
)
from gpu_passthrough_plugin.model.function import Bar, BarKind
from tests.golden import assert_golden, sections
from tests.unit.diagnosis.build import LOST, evidence, member
from tests.unit.isolation.values import audio, facts, function, gpu

GIB = 1 << 30
H200S = tuple(
    member(
        function(f"{bus}:00.0", "10de:2335", 0x030200, driver="vfio-pci"),
        bars=(
            Bar(16 << 20, BarKind.LOW),
            Bar(256 * GIB, BarKind.HIGH),
            Bar(32 << 20, BarKind.HIGH),
        ),
    )
    for bus in ("18", "2a")
)
SWITCH = function(
    "05:00.0", "10de:22a3", 0x068000, driver="nvidia-nvswitch", iommu_group=9
)
RADEON = member(
    function("0b:00.0", "1002:73bf", 0x030000, driver="vfio-pci"),
    reset_methods=(),
)
FAILED = "nvidia: probe of 0000:05:00.0 failed with error -1"


def board(
    driver: str = "nvidia-nvswitch", mode: int | None = None
) -> Evidence:
    return evidence(
        *H200S,
        member(SWITCH._replace(driver=driver)),
        facts=facts(fabric_mode=mode),
    )


CASES: dict[str, tuple[Sequence[str], Evidence]] = {
    # edk2#9932, and Windows' name of the same.
    "BAR0 is 0M": (
        (
            "NVRM: This PCI I/O region assigned to your NVIDIA device is"
            " invalid:",
            "    NVRM: BAR0 is 0M @ 0x0 (PCI:0000:07:00.0)",
            FAILED,
        ),
        evidence(*H200S, RADEON),
    ),
    # kata-containers#13270.
    "no space": (
        ("pci 0000:05:00.0: BAR 1 [mem size 0x2000000000 64bit pref]: can't"
         " assign; no space",),
        evidence(*H200S),
    ),
    "address bits of QEMU": (
        ("qemu-system-x86_64: Address space limit 0xffffffffff <"
         " 0x1037fffffff phys-bits too low (40)",),
        evidence(),
    ),
    # cubecos#259: the NVSwitches are with the host.
    "error 802, no partition": (
        ("CUDA initialization: Error 802: system not yet initialized",),
        board(mode=1),
    ),
    # gpu-operator#2923.
    "error 802, mode 0": (
        ("cudaGetDeviceCount failed: cudaErrorSystemNotReady",),
        board(mode=0),
    ),
    # nccl-tests#260: one of several guests has the NVSwitches.
    "error 802, switches given": (
        ("Error 802: system not yet initialized",),
        board("vfio-pci"),
    ),
    "error 802, no switch known": (
        ("Error 802: system not yet initialized",),
        evidence(*H200S),
    ),
    "not viable": (
        ("vfio 0000:06:00.0: group 1 is not viable",),
        evidence(
            member(gpu(driver="vfio-pci")),
            member(audio(driver="snd_hda_intel")),
        ),
    ),
    "fallen off": (
        ("NVRM: Xid (PCI:0000:05:00): 79, pid='<unknown>', GPU has fallen off"
         " the bus.", FAILED),
        evidence(*H200S),
    ),
    "started a second time": (
        ("amdgpu 0000:05:00.0: [drm] *ERROR* PSP load tmr failed!",),
        evidence(*H200S, RADEON),
    ),
    "no ROM": (
        ("amdgpu 0000:05:00.0: Unable to locate a BIOS ROM",),
        evidence(
            RADEON._replace(
                detail=RADEON.detail and RADEON.detail._replace(boot_vga=True)
            )
        ),
    ),
    "code 43, NVIDIA": (
        ("Windows has stopped this device because it has reported problems."
         " (Code 43)",),
        evidence(*H200S),
    ),
    "code 43, AMD": (("Code 43",), evidence(RADEON)),
    # Single-GPU-Passthrough#103.
    "group not owned": (
        ("qemu-system-x86_64: vfio: Cannot reset device 0000:0b:00.0, depends"
         " on group 14 which is not owned.",),
        evidence(RADEON),
    ),
    # "[STABLE] 6.12.23: vfio error", on Linux's list of April 2025.
    "no reset": (
        ("vfio: Cannot reset device 0000:0b:00.0, no available reset"
         " mechanism.",),
        evidence(RADEON),
    ),
    "driver failed": ((FAILED,), evidence(*H200S)),
}  # fmt: skip


def found(name: str) -> tuple[Cause, ...]:
    return guest_log.causes(*CASES[name])


@pytest.mark.parametrize(
    ("name", "cause", "fact"),
    [
        ("BAR0 is 0M", "guest-no-address-space", "0000:18:00.0 256 GiB"),
        ("no space", "guest-no-address-space", "0000:2a:00.0 256 GiB"),
        ("address bits of QEMU", "guest-no-address-space", "BAR"),
        ("error 802, no partition", "guest-fabric", "FABRIC_MODE=1"),
        ("error 802, mode 0", "guest-fabric", "FABRIC_MODE=0"),
        ("error 802, switches given", "guest-fabric", "0000:05:00.0 on vfio"),
        ("error 802, no switch known", "guest-fabric", "no NVSwitch"),
        ("not viable", "guest-group-not-viable", "0000:06:00.1 (snd_hda"),
        ("fallen off", "guest-card-lost", "stopped responding"),
        ("started a second time", "guest-card-lost", "0000:0b:00.0"),
        ("no ROM", "guest-no-rom", "0000:0b:00.0"),
        ("code 43, NVIDIA", "guest-code-43", "465"),
        ("code 43, AMD", "guest-code-43", "reset"),
        ("group not owned", "guest-not-reset", "0000:0b:00.0"),
        ("no reset", "guest-not-reset", "0000:0b:00.0"),
        ("driver failed", "guest-driver-failed", "could not start"),
    ],
)
def test_a_message_is_explained_once_with_the_hosts_facts(
    name: str, cause: str, fact: str
) -> None:
    (only,) = found(name)
    assert only.name == cause
    assert fact in only.text
    assert only.evidence in [line.strip() for line in CASES[name][0]]


def test_the_window_of_an_old_firmware_holds_all_cards() -> None:
    (cause,) = found("BAR0 is 0M")
    assert "string=1048576" in cause.fix
    (cause,) = found("address bits of QEMU")
    assert "string=65536" in cause.fix


def test_unread_reset_methods_are_not_missing_ones() -> None:
    unread = RADEON._replace(
        detail=RADEON.detail and RADEON.detail._replace(reset_methods=LOST)
    )
    messages, _ = CASES["started a second time"]
    (cause,) = guest_log.causes(messages, evidence(unread))
    assert "no reset" not in cause.text


def test_a_group_that_the_host_does_not_have() -> None:
    messages = ("vfio 0000:06:00.0: group 999 is not viable",)
    (cause,) = guest_log.causes(messages, evidence(*H200S))
    assert "no IOMMU group 999" in cause.text
    assert cause.confidence is Confidence.POSSIBLE


def test_code_43_beside_a_management_controllers_display() -> None:
    bmc = member(function("03:00.0", "1a03:2000", 0x030000, driver="ast"))
    (cause,) = guest_log.causes(
        ("Code 43",), evidence(RADEON._replace(role=bmc.role), bmc)
    )
    assert "AMD" in cause.text


def test_a_set_that_is_complete_is_no_fault() -> None:
    """nvtrust#128: everything in one guest, and no message of the fabric."""
    assert guest_log.causes((FAILED,), board("vfio-pci"))[0].name == (
        "guest-driver-failed"
    )


def test_a_function_without_a_reset_is_one_of_a_card() -> None:
    (owned,), (alone,) = found("group not owned"), found("no reset")
    assert "group 14" in owned.fix
    assert "all functions of the card" in alone.fix
    assert alone.confidence is Confidence.POSSIBLE


def test_a_second_start_is_the_hosts_matter() -> None:
    """vendor-reset#80: an MI100 whose first guest was well."""
    line = (
        "amdgpu: [drm:atom_op_jump] *ERROR* atombios stuck in loop for more"
        " than 20secs aborting"
    )
    (cause,) = guest_log.causes((line,), evidence(RADEON))
    assert cause.name == "guest-card-lost" and "host" in cause.fix


def test_a_log_without_any_such_message() -> None:
    lines = ("Linux version 6.8.0", "nvidia 0000:05:00.0: enabling device")
    assert guest_log.causes(lines, board()) == ()


def test_nothing_advises_what_enable_refuses() -> None:
    for name in CASES:
        for cause in found(name):
            assert "ids=" not in cause.fix
            assert "host enable" not in cause.fix


def test_each_rule_is_named_once() -> None:
    names = {cause.name for name in CASES for cause in found(name)}
    assert names == set(guest_log.NAMES)


def test_golden_messages() -> None:
    text = sections(
        {
            name: [
                f"{cause.name}: {cause.text} [{cause.confidence}]\n"
                f"  evidence: {cause.evidence}\n"
                f"  fix: {cause.fix}"
                for cause in found(name)
            ]
            for name in CASES
        }
    )
    assert_golden(Path(__file__).with_name("guest_messages.txt"), text)


def test_only_what_the_host_confirms_is_certain() -> None:
    assert found("not viable")[0].confidence is Confidence.CERTAIN
    assert found("driver failed")[0].confidence is Confidence.POSSIBLE
