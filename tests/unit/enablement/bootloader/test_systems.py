"""Every driver against the systems that it is for."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import kernel_cmdline
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Action, Run, Write
from tests.trees import boot
from tests.trees.systems import SYSTEMS
from tests.unit.enablement.bootloader import planning

GRUBBY = (
    "/usr/sbin/grubby",
    "--update-kernel=ALL",
    f"--args={planning.ALL_WORDS}",
)
UPDATE_GRUB = ("/usr/sbin/update-grub", "-o", "/boot/grub/grub.cfg")
DROP_IN = "/etc/default/grub.d/90-gpu-passthrough.cfg"
CMDLINE, DEFAULTS = "/etc/kernel/cmdline", "/etc/default/grub"


def _add(release: str, image: str) -> tuple[str, ...]:
    return ("/usr/bin/kernel-install", "add", release, image)


# By system: its driver, the files that change, the commands that are run.
WANTED: dict[str, tuple[str, list[str], list[tuple[str, ...]]]] = {
    "arch": (
        "systemd_boot",
        [
            f"/boot/loader/entries/arch{more}.conf"
            for more in ("-fallback", "")
        ],
        [],
    ),
    "arch-grub": (
        "grub2",
        [DEFAULTS],
        [("/usr/bin/grub-mkconfig", "-o", "/boot/grub/grub.cfg")],
    ),
    "centos7": (
        "grub2",
        [DEFAULTS],
        [("/usr/sbin/grub2-mkconfig", "-o", "/boot/grub2/grub.cfg")],
    ),
    "centos7-efi": (
        "grub2",
        [DEFAULTS],
        [("/usr/sbin/grub2-mkconfig", "-o", "/boot/efi/EFI/centos/grub.cfg")],
    ),
    "debian-systemd-boot": (
        "systemd_boot",
        [CMDLINE],
        [
            _add(f"6.1.0-{n}-amd64", f"/boot/vmlinuz-6.1.0-{n}-amd64")
            for n in (18, 28)
        ],
    ),
    "debian12": ("debian", [DROP_IN], [UPDATE_GRUB]),
    "fedora": ("grubby", [DEFAULTS], [GRUBBY]),
    "fedora-systemd-boot": (
        "systemd_boot",
        [CMDLINE],
        [
            _add(
                "6.14.5-300.fc42.x86_64",
                "/usr/lib/modules/6.14.5-300.fc42.x86_64/vmlinuz",
            )
        ],
    ),
    "opensuse-leap": (
        "suse",
        [DEFAULTS],
        [("/usr/sbin/grub2-mkconfig", "-o", "/boot/grub2/grub.cfg")],
    ),
    "proxmox-grub": ("proxmox", [DROP_IN], [UPDATE_GRUB]),
    "proxmox-systemd-boot": (
        "proxmox",
        [CMDLINE, DROP_IN],
        [("/usr/sbin/proxmox-boot-tool", "refresh")],
    ),
    "rhel10": ("grubby", [CMDLINE, DEFAULTS], [GRUBBY]),
    "rhel8": ("grubby", [DEFAULTS], [GRUBBY]),
    "rhel8-whole": ("grubby", [DEFAULTS], [GRUBBY]),
    "rhel9": ("grubby", [CMDLINE, DEFAULTS], [GRUBBY]),
    "silverblue": (
        "rpm_ostree",
        [],
        [
            (
                "/usr/bin/rpm-ostree",
                "kargs",
                *(
                    f"--append-if-missing={word}"
                    for word in planning.ALL_WORDS.split()
                ),
            )
        ],
    ),
    "tumbleweed": (
        "suse",
        [CMDLINE],
        [("/usr/bin/sdbootutil", "update-all-entries")],
    ),
    "ubuntu2404": ("debian", [DROP_IN], [UPDATE_GRUB]),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_is_planned(name: str) -> None:
    driver, files, commands = WANTED[name]
    here = planning.system(name)
    assert planning.chosen(here).name == driver
    plan = planning.plan(here)
    assert list(planning.writes(plan)) == files
    assert planning.argv(plan) == commands
    # It alone has images that are built elsewhere.
    assert bool(plan.notes) == (driver == "rpm_ostree")
    assert all("rpm-ostree initramfs --enable" in n for n in plan.notes)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_written_file_is_not_written_again(name: str) -> None:
    here = planning.system(name)
    plan = planning.plan(here)
    for change in planning.plan(planning.written(here, plan)).changes:
        if isinstance(change, Write):
            assert change.action is Action.KEEP
    # Words that it lacks are all that a file gets.
    for path, text in planning.writes(plan).items():
        was = here.text(path) or ""
        added = set((text or "").split()) - set(was.split())
        for word in planning.ALL_WORDS.split():
            assert any(word in piece for piece in added)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_plan_in_effect_is_kept(name: str) -> None:
    here = planning.system(name)
    after = planning.booted(here, planning.plan(here), planning.ALL)
    plan = planning.plan(after)
    assert plan.changes
    rows = (*plan.changes, *plan.image_commands)
    assert {change.action for change in rows} == {Action.KEEP}
    said = planning.chosen(after).configured(after)
    for place, line in said.entries.items():
        assert kernel_cmdline.is_satisfied(line, planning.ALL), place


@pytest.mark.parametrize("name", SYSTEMS)
def test_other_words_are_kept(name: str) -> None:
    """Nothing is expected that the system does not have."""
    plan = planning.plan(planning.system(name), Requirements())
    assert {change.action for change in plan.changes} == {Action.KEEP}


@pytest.mark.parametrize("name", SYSTEMS)
def test_after_a_kill_the_command_is_still_needed(name: str) -> None:
    """The files are written, and the menu was not generated."""
    here = planning.system(name)
    plan = planning.plan(here)
    again = planning.plan(planning.written(here, plan))
    if name == "proxmox-systemd-boot":
        # What is on its partitions cannot be seen.
        assert planning.argv(again) == []
    else:
        assert planning.argv(again) == planning.argv(plan)


@pytest.mark.parametrize("name", SYSTEMS)
def test_paths_are_whole_and_no_stub_is_touched(name: str) -> None:
    here = planning.system(name)
    plan = planning.plan(here)
    for change in (*plan.changes, *plan.image_commands):
        if isinstance(change, Run):
            assert change.argv[0] in here.tools.values()
            assert all(path.startswith("/") for path in change.touches)
            assert len(change.touches) == len(set(change.touches))
            for path in change.touches:
                assert here.text(path) != boot.STUB
                assert boot.RESCUE not in path
        else:
            assert change.target.startswith("/")


@pytest.mark.parametrize("name", SYSTEMS)
def test_configured_entries(name: str) -> None:
    here = planning.system(name)
    said = planning.chosen(here).configured(here)
    if name != "proxmox-systemd-boot":
        assert said.entries
        roots = [w for line in said.entries.values() for w in line]
        assert any(word.startswith("root=") for word in roots)
    assert said.sources or name == "arch" or name == "fedora"


def test_which_commands_bring_images_along() -> None:
    by_name = {
        name: [
            run.argv
            for run in planning.plan(planning.system(name)).image_commands
        ]
        for name in SYSTEMS
    }
    assert {name: argv for name, argv in by_name.items() if argv} == {
        "debian-systemd-boot": WANTED["debian-systemd-boot"][2],
        "fedora-systemd-boot": WANTED["fedora-systemd-boot"][2],
        "proxmox-systemd-boot": WANTED["proxmox-systemd-boot"][2],
        "tumbleweed": [("/usr/bin/sdbootutil", "mkinitrd")],
    }
