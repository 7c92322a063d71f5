from __future__ import annotations

from typing import Any

from gpu_passthrough_plugin.isolation import iommu
from gpu_passthrough_plugin.model.facts import CpuVendor
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.isolation.values import facts

LOST = Unknown(Why.UNREADABLE, "Permission denied")
AMD = {
    "cpu_vendor": CpuVendor.AMD,
    "acpi_tables": frozenset({"IVRS"}),
    "kernel_arguments": ("quiet",),
}


def found(**fields: Any) -> tuple[str, str]:
    """What explains it, without its beginning, and the remedy."""
    reason = iommu.absence(facts(**{"iommus": (), **fields}))
    assert reason.rule == "no-iommu"
    return reason.text.removeprefix("in no IOMMU group"), reason.remedy


def arguments(*words: str, **fields: Any) -> tuple[str, str]:
    return found(kernel_arguments=("quiet", *words), **fields)


def test_firmware_without_the_table_comes_first() -> None:
    assert found(acpi_tables=frozenset({"FACP"})) == (
        ": the firmware has no DMAR table",
        "turn VT-d on in the firmware's setup",
    )
    text, remedy = found(**AMD | {"acpi_tables": frozenset({"FACP"})})
    assert text == ": the firmware has no IVRS table"
    assert remedy == "turn AMD-Vi (IOMMU) on in the firmware's setup"
    assert "DMAR" in found(acpi_tables=frozenset(), kernel_arguments=())[0]


def test_a_typo_is_named() -> None:
    text, remedy = arguments("intel_opmmu=on")
    assert text == (
        ": the kernel was started with intel_opmmu=on, which it does not"
        " know and does not complain of"
    )
    assert remedy == "write intel_iommu=on in its place and reboot"


def test_an_argument_that_is_not_there_is_asked_for() -> None:
    without = ": the kernel was started without intel_iommu=on"
    for words in ((), ("iommu=pt",), ("amd_iommu=on",), ("igfx_off",)):
        text, remedy = arguments(*words)
        assert text == without, words
        assert remedy == (
            "add intel_iommu=on to the kernel command line and reboot"
        )


def test_what_switches_it_off_is_named() -> None:
    for word in ("intel_iommu=off", "iommu=off"):
        text, remedy = arguments("intel_iommu=on", word)
        assert text == f": the kernel was started with {word}"
        assert remedy == f"take {word} off the kernel command line and reboot"
    assert arguments("iommu=pt,off")[0].endswith("with iommu=off")
    words = ("quiet", "amd_iommu=off")
    assert found(**AMD | {"kernel_arguments": words}) == (
        ": the kernel was started with amd_iommu=off",
        "take amd_iommu=off off the kernel command line and reboot",
    )


def test_the_last_switch_counts_and_options_are_lists() -> None:
    started = "the kernel started no IOMMU"
    assert started in arguments("intel_iommu=off", "intel_iommu=on")[0]
    assert started in arguments("intel_iommu=on,sm_on")[0]
    assert started in arguments("intel_iommu=sm_on,on")[0]
    assert arguments("intel_iommu=on,off")[0].endswith("intel_iommu=off")


def test_another_vendors_switch_is_no_cause() -> None:
    started = "the kernel started no IOMMU"
    words = ("quiet", "intel_iommu=off")
    assert started in found(**AMD | {"kernel_arguments": words})[0]
    assert started in arguments("intel_iommu=on", "amd_iommu=off")[0]
    assert started in found(**AMD)[0]


def test_an_iommu_that_runs_does_not_cover_the_function() -> None:
    text, remedy = found(iommus=("dmar0", "dmar1"), kernel_arguments=())
    assert text == (
        ", although the kernel runs dmar0, dmar1: none of them covers this"
        " function"
    )
    assert remedy == "leave it to the host, or move the card to another slot"


def test_what_could_not_be_read_explains_nothing() -> None:
    started = "the kernel started no IOMMU"
    assert started in found(cpu_vendor=LOST)[0]
    assert started in found(acpi_tables=LOST)[0]
    assert started in found(kernel_arguments=LOST)[0]
    assert started in found(cpu_vendor=CpuVendor.ARM)[0]
    text, remedy = found(iommus=LOST)
    assert "why is unknown" in text
    assert remedy == "run this on the host itself as root"
    nothing = dict.fromkeys(
        ("cpu_vendor", "acpi_tables", "kernel_arguments", "iommus"), LOST
    )
    assert "why is unknown" in found(**nothing)[0]


def test_the_firmwares_table_chooses_the_parameter() -> None:
    mixed = {"cpu_vendor": CpuVendor.AMD, "acpi_tables": frozenset({"DMAR"})}
    off = found(**mixed | {"kernel_arguments": ("intel_iommu=off",)})
    assert off[0] == ": the kernel was started with intel_iommu=off"
    text, _ = found(**mixed | {"kernel_arguments": ("amd_iommu=off",)})
    assert text == ": the kernel was started without intel_iommu=on"
    other = {"acpi_tables": frozenset({"IVRS"})}
    text, _ = found(**other | {"kernel_arguments": ("amd_iommu=off",)})
    assert text.endswith("with amd_iommu=off")


def test_what_is_never_taken_back() -> None:
    words = ("amd_iommu=off", "amd_iommu=on")
    assert found(**AMD | {"kernel_arguments": words})[0].endswith("=off")
    assert "iommu=off" in arguments("iommu=off", "iommu=pt")[0]
