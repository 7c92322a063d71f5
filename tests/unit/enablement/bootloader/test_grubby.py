"""grubby: one call for every entry, and the files of new ones."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from tests.trees import boot, redhat
from tests.trees.host import Host
from tests.unit.enablement.bootloader import planning
from tests.unit.enablement.bootloader.planning import ON

GRUBBY = ("/usr/sbin/grubby", "--update-kernel=ALL")

KERNEL = "6.14.5-300.fc42.x86_64"

ENTRY = f"boot/loader/entries/{boot.MACHINE}"


def fedora(options: str, rescue: str | None = None) -> Host:
    """Fedora whose kernel, and rescue kernel, have these options."""
    made = redhat.fedora()
    for name, text in ((KERNEL, options), ("0-rescue", rescue or options)):
        made.file(f"{ENTRY}-{name}.conf", boot.bls("Fedora", KERNEL, text))
    return made


@pytest.mark.parametrize(
    ("options", "added", "removed"),
    [
        ("ro quiet", "intel_iommu=on", ""),
        ("ro intel_iommu=off", "intel_iommu=on", "intel_iommu=off"),
        ("intel_iommu=off,a", "intel_iommu=on,a", "intel_iommu=off,a"),
        ("ro iommu=off iommu=off", "intel_iommu=on", "iommu=off iommu=off"),
        ("ro intel_opmmu=on", "intel_iommu=on", "intel_opmmu=on"),
    ],
)  # fmt: skip
def test_whole_words_are_added_and_removed(
    options: str, added: str, removed: str
) -> None:
    (run,) = planning.runs(
        planning.plan(planning.installed(fedora(options)), ON)
    )
    more = (f"--remove-args={removed}",) if removed else ()
    assert run.argv == (*GRUBBY, f"--args={added}", *more)
    back = (f"--args={removed}",) if removed else ()
    assert run.undo_argv == (*GRUBBY, *back, f"--remove-args={added}")


def test_undoing_restores_a_removed_word() -> None:
    here = planning.installed(fedora("intel_iommu=off ro intel_iommu=on"))
    (run,) = planning.runs(planning.plan(here, ON))
    assert run.argv == (*GRUBBY, "--remove-args=intel_iommu=off")
    # It would put ``off`` in the place of ``on`` too.
    assert run.undo_argv == (*GRUBBY, "--args=intel_iommu=off intel_iommu=on")


def test_other_words_of_an_added_name_are_kept() -> None:
    """It would put the added word in the place of all of them."""
    early = Requirements(("rd.driver.pre=vfio-pci",))
    here = planning.installed(fedora("ro rd.driver.pre=ahci"))
    assert planning.argv(planning.plan(here, early)) == [
        (*GRUBBY, "--args=rd.driver.pre=ahci rd.driver.pre=vfio-pci")
    ]


def test_one_entry_without_the_argument_needs_a_call() -> None:
    here = planning.installed(fedora("ro", "ro intel_iommu=on"))
    plan = planning.plan(here, ON)
    assert planning.argv(plan) == [(*GRUBBY, "--args=intel_iommu=on")]


def test_entries_of_the_efi_partition_are_not_grubbys() -> None:
    made = fedora("ro intel_iommu=on")
    made.file("boot/efi/loader/entries/old.conf", "linux /v\noptions ro\n")
    plan = planning.plan(planning.installed(made), ON)
    assert planning.argv(plan) == []


def test_entries_that_one_call_cannot_change_are_refused() -> None:
    here = planning.installed(fedora("ro", "ro intel_iommu=on,sm_on"))
    with pytest.raises(errors.Refused, match=r"rescue\.conf .*intel_iommu"):
        planning.plan(here, ON)


def test_arguments_in_the_environment_block() -> None:
    made = redhat.rhel8()
    plan = planning.plan(planning.installed(made), ON)
    (run,) = planning.runs(plan)
    assert "/boot/grub2/grubenv" in run.touches
    made.file("boot/grub2/grubenv", boot.grubenv(saved_entry="0"))
    with pytest.raises(
        errors.Refused, match=r"kernelopts.*/boot/grub2/grubenv"
    ):
        planning.plan(planning.installed(made), ON)
    made.file(
        "boot/grub2/grubenv",
        boot.grubenv(kernelopts="ro", tuned_params="intel_iommu=on,off"),
    )
    with pytest.raises(
        errors.Refused, match=r"grubenv tuned_params .*intel_iommu=on,off"
    ):
        planning.plan(planning.installed(made), ON)
    made.file("boot/grub2/grubenv", boot.grubenv(kernelopts="ro"))
    name = f"{ENTRY}-0-rescue.conf"
    options = "$kernelopts iommu=off"
    made.file(name, boot.bls("RHEL", "0-rescue", options))
    with pytest.raises(errors.Refused, match=r"rescue\.conf .*iommu=off"):
        planning.plan(planning.installed(made), ON)


def test_defaults_that_cannot_be_edited_are_a_note() -> None:
    made = redhat.fedora()
    made.file("etc/default/grub", 'GRUB_CMDLINE_LINUX="$(x)"\n')
    plan = planning.plan(planning.installed(made), ON)
    assert planning.writes(plan) == {}
    assert planning.argv(plan) == [(*GRUBBY, "--args=intel_iommu=on")]
    assert 'GRUB_CMDLINE_LINUX="$(x)"' in plan.notes[0]
