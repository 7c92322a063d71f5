"""Loader entries: grubby, kernel-install, by hand, sdbootutil, Proxmox."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader import rpm_ostree
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Action
from tests.trees import arch, boot, debian, redhat, suse
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
def test_grubby_is_told_whole_words(
    options: str, added: str, removed: str
) -> None:
    (run,) = planning.runs(planning.plan(planning.found(fedora(options)), ON))
    more = (f"--remove-args={removed}",) if removed else ()
    assert run.argv == (*GRUBBY, f"--args={added}", *more)
    back = (f"--args={removed}",) if removed else ()
    assert run.undo_argv == (*GRUBBY, *back, f"--remove-args={added}")


def test_grubby_takes_back_what_it_took_off() -> None:
    here = planning.found(fedora("intel_iommu=off ro intel_iommu=on"))
    (run,) = planning.runs(planning.plan(here, ON))
    assert run.argv == (*GRUBBY, "--remove-args=intel_iommu=off")
    # It would put ``off`` in the place of ``on`` too.
    assert run.undo_argv == (*GRUBBY, "--args=intel_iommu=off intel_iommu=on")


def test_grubby_keeps_other_words_of_a_name_that_it_adds() -> None:
    """It would put the added word in the place of all of them."""
    early = Requirements(("rd.driver.pre=vfio-pci",))
    here = planning.found(fedora("ro rd.driver.pre=ahci"))
    assert planning.argv(planning.plan(here, early)) == [
        (*GRUBBY, "--args=rd.driver.pre=ahci rd.driver.pre=vfio-pci")
    ]


def test_grubby_is_run_for_one_entry_that_lacks_it() -> None:
    here = planning.found(fedora("ro", "ro intel_iommu=on"))
    plan = planning.plan(here, ON)
    assert planning.argv(plan) == [(*GRUBBY, "--args=intel_iommu=on")]


def test_grubby_does_not_see_the_efi_partitions_entries() -> None:
    made = fedora("ro intel_iommu=on")
    made.file("boot/efi/loader/entries/old.conf", "linux /v\noptions ro\n")
    plan = planning.plan(planning.found(made), ON)
    assert planning.argv(plan) == []


def test_entries_that_differ_in_it_are_refused() -> None:
    here = planning.found(fedora("ro", "ro intel_iommu=on,sm_on"))
    with pytest.raises(errors.Refused, match=r"rescue\.conf .*intel_iommu"):
        planning.plan(here, ON)


def test_grubby_edits_the_environment_block() -> None:
    made = redhat.rhel8()
    plan = planning.plan(planning.found(made), ON)
    (run,) = planning.runs(plan)
    assert "/boot/grub2/grubenv" in run.touches
    made.file("boot/grub2/grubenv", boot.grubenv(saved_entry="0"))
    with pytest.raises(
        errors.Refused, match=r"kernelopts.*/boot/grub2/grubenv"
    ):
        planning.plan(planning.found(made), ON)
    made.file(
        "boot/grub2/grubenv",
        boot.grubenv(kernelopts="ro", tuned_params="intel_iommu=on,off"),
    )
    with pytest.raises(
        errors.Refused, match=r"grubenv tuned_params .*intel_iommu=on,off"
    ):
        planning.plan(planning.found(made), ON)
    made.file("boot/grub2/grubenv", boot.grubenv(kernelopts="ro"))
    name = f"{ENTRY}-0-rescue.conf"
    options = "$kernelopts iommu=off"
    made.file(name, boot.bls("RHEL", "0-rescue", options))
    with pytest.raises(errors.Refused, match=r"rescue\.conf .*iommu=off"):
        planning.plan(planning.found(made), ON)


def test_defaults_that_cannot_be_edited_are_only_said_beside_entries() -> None:
    made = redhat.fedora()
    made.file("etc/default/grub", 'GRUB_CMDLINE_LINUX="$(x)"\n')
    plan = planning.plan(planning.found(made), ON)
    assert planning.writes(plan) == {}
    assert planning.argv(plan) == [(*GRUBBY, "--args=intel_iommu=on")]
    assert 'GRUB_CMDLINE_LINUX="$(x)"' in plan.notes[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("root=x ro", "root=x ro intel_iommu=on"),
        ("root=x ro\r\n", "root=x ro intel_iommu=on\r\n"),
        ("root=x intel_iommu=off ro\n", "root=x intel_iommu=on ro\n"),
        ("# ours\nroot=x\n", "# ours\nroot=x intel_iommu=on\n"),
        ("root=x\nquiet iommu=off\n", "root=x intel_iommu=on\nquiet\n"),
    ],
)
def test_the_source_of_entries_is_edited(text: str, wanted: str) -> None:
    made = debian.debian_systemd_boot()
    made.file("etc/kernel/cmdline", text)
    plan = planning.plan(planning.found(made), ON)
    assert planning.writes(plan) == {"/etc/kernel/cmdline": wanted}


def test_kernels_are_added_anew_where_an_entry_lacks_it() -> None:
    made = redhat.fedora_systemd_boot()
    made.file("etc/kernel/cmdline", "root=x intel_iommu=on\n")
    (run,) = planning.runs(planning.plan(planning.found(made), ON))
    assert run.action is Action.RUN
    folder = f"/boot/efi/{boot.MACHINE}/{KERNEL}"
    assert run.touches == (
        f"/boot/efi/loader/entries/{boot.MACHINE}-{KERNEL}.conf",
        f"{folder}/linux",
        f"{folder}/initrd.img",
    )


def test_without_a_source_of_entries_it_is_refused() -> None:
    made = arch.arch()
    boot.kernel_install(made, "boot/loader/entries", "6.14.6-arch1-1", "ro")
    with pytest.raises(errors.Refused, match=r"^/etc/kernel/cmdline "):
        planning.plan(planning.found(made), ON)


def test_entries_by_hand_are_edited_and_another_systems_are_not() -> None:
    made = arch.arch()
    boot.kernel_install(made, "boot/loader/entries", "5.0.0-other", "ro")
    made.file("boot/loader/entries/windows.conf", "title W\nefi /EFI/W.efi\n")
    made.file(
        "boot/loader/entries/arch.conf",
        "linux /vmlinuz-linux\noptions root=x\noptions  iommu=off a\r\n",
    )
    made.file("boot/loader/entries/arch-fallback.conf", "linux /vmlinuz-linux")
    assert planning.writes(planning.plan(planning.found(made), ON)) == {
        "/boot/loader/entries/arch-fallback.conf": (
            "linux /vmlinuz-linux\noptions intel_iommu=on\n"
        ),
        "/boot/loader/entries/arch.conf": (
            "linux /vmlinuz-linux\noptions root=x\n"
            "options  a intel_iommu=on\r\n"
        ),
    }


def test_snapshots_of_old_keep_their_entries() -> None:
    plan = planning.plan(planning.found(suse.tumbleweed()), ON)
    (run,) = planning.runs(plan)
    folder = "/boot/efi/loader/entries/opensuse-6.14"
    assert run.touches == (
        f"{folder}.1-1-default-2.conf",
        f"{folder}.4-1-default-2.conf",
    )
    made = suse.tumbleweed()
    made.file("etc/kernel/cmdline", "root=x intel_iommu=on\n")
    for name in run.touches:
        made.file(
            name[1:],
            "version 2@6.14\noptions root=x intel_iommu=on\nlinux /v\n",
        )
    plan = planning.plan(planning.found(made), ON)
    assert planning.argv(plan) == []


def test_of_proxmoxs_source_the_first_line_counts() -> None:
    made = debian.proxmox_systemd_boot()
    made.file("etc/kernel/cmdline", "root=ZFS=x\nintel_iommu=on\n")
    changed = planning.writes(planning.plan(planning.found(made), ON))
    assert changed["/etc/kernel/cmdline"] == (
        "root=ZFS=x intel_iommu=on\nintel_iommu=on\n"
    )


def test_proxmox_on_a_bios_has_grub_on_its_partitions() -> None:
    made = debian.proxmox_grub()
    made.file("etc/kernel/proxmox-boot-uuids", "3F1A-9C20\n")
    plan = planning.plan(planning.found(made), ON)
    assert list(planning.writes(plan)) == [
        "/etc/default/grub.d/90-gpu-passthrough.cfg"
    ]
    assert planning.argv(plan) == [("/usr/sbin/proxmox-boot-tool", "refresh")]


def test_rpm_ostree_is_told_to_take_words_off() -> None:
    made = redhat.silverblue()
    made.file(
        "boot/loader/entries/ostree-2.conf",
        "version 2\noptions ro intel_opmmu=on iommu=off\nlinux /v\n",
    )
    (run,) = planning.runs(planning.plan(planning.found(made), ON))
    tool = ("/usr/bin/rpm-ostree", "kargs")
    assert run.argv == (
        *tool,
        "--append-if-missing=intel_iommu=on",
        "--delete-if-present=intel_opmmu=on",
        "--delete-if-present=iommu=off",
    )
    assert run.undo_argv == (
        *tool,
        "--append-if-missing=intel_opmmu=on",
        "--append-if-missing=iommu=off",
        "--delete-if-present=intel_iommu=on",
    )


def test_what_rpm_ostree_staged_is_done() -> None:
    here = planning.system("silverblue")
    staged = {rpm_ostree.STAGED: b"\0\0kargs\0ro\0intel_iommu=on\0\0as\x07"}
    after = here._replace(files={**here.files, **staged})
    (run,) = planning.runs(planning.plan(after, ON))
    assert run.action is Action.KEEP


def test_rpm_ostree_has_to_be_there() -> None:
    here = planning.system("silverblue")
    tools = {k: v for k, v in here.tools.items() if k != "rpm-ostree"}
    with pytest.raises(errors.Refused, match="rpm-ostree"):
        planning.plan(here._replace(tools=tools), ON)
