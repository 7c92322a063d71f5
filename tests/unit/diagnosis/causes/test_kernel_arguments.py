from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis.causes import kernel_arguments
from tests.unit.diagnosis.build import (
    SOURCE,
    UNGROUPED,
    case,
    cause,
    confidence,
    enabled,
    found,
    told,
)
from tests.unit.diagnosis.examples.kernel_arguments import (
    BOTH_ENTRIES,
    MENU,
    NO_ENTRY,
    ONE_ENTRY,
)
from tests.unit.isolation.values import facts


def test_an_entry_that_has_it_waits_for_a_reboot() -> None:
    waits = cause(
        kernel_arguments.not_rebooted,
        case(*UNGROUPED, **told(entries=ONE_ENTRY)),
    )
    assert waits.confidence == "likely"
    assert waits.evidence == f"{MENU}:100: intel_iommu=on"
    other = case(*UNGROUPED, **told(entries=ONE_ENTRY))
    assert confidence(kernel_arguments.other_boot_entry, other) == "possible"
    assert (
        confidence(
            kernel_arguments.other_boot_entry, case(*UNGROUPED, **told())
        )
        == ""
    )


def test_what_was_enabled_is_looked_for_on_a_host_with_groups_too() -> None:
    done = enabled(arguments=("rd.driver.pre=vfio-pci",))
    lacking = case(
        enablement=done, entries={"/boot/a.conf": ("rd.driver.pre=vfio-pci",)}
    )
    assert (
        "rd.driver.pre=vfio-pci"
        in cause(kernel_arguments.other_boot_entry, lacking).text
    )
    # An argument for groups is no matter where groups are.
    rule = kernel_arguments.not_rebooted
    grouped = case(facts=facts(kernel_arguments=()), entries=BOTH_ENTRIES)
    assert confidence(rule, grouped) == ""
    runs = facts(kernel_arguments=(), iommus=("dmar0",))
    ungrouped = case(*UNGROUPED, facts=runs, entries=BOTH_ENTRIES)
    assert confidence(rule, ungrouped) == ""


@pytest.mark.parametrize(
    ("tools", "entries", "command"),
    [
        (["update-grub", "grub2-mkconfig"], NO_ENTRY, "run 'update-grub'"),
        (["grub2-mkconfig"], NO_ENTRY, f"run 'grub2-mkconfig -o {MENU}'"),
        ([], NO_ENTRY, "run 'gpu-passthrough host enable'"),
        (
            ["grub2-mkconfig", "update-grub"],
            {"/boot/loader/entries/a.conf": ("quiet",)},
            "run 'gpu-passthrough host enable'",
        ),
    ],
)
def test_the_command_that_generates(
    tools: list[str], entries: dict[str, tuple[str, ...]], command: str
) -> None:
    stale = case(
        *UNGROUPED,
        **told(
            configured=SOURCE, entries=entries, installation=found(tools=tools)
        ),
    )
    assert (
        cause(kernel_arguments.not_regenerated, stale).fix
        == f"{command}, then reboot"
    )
