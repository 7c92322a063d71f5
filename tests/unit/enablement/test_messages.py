"""Every message of the room, as an operator reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import kernel_modules, load, targets
from gpu_passthrough_plugin.enablement import plan as planning
from gpu_passthrough_plugin.enablement.binding.address import AddressBinding
from gpu_passthrough_plugin.enablement.binding.ids import IdsBinding
from gpu_passthrough_plugin.enablement.bootloader.debian import Debian
from gpu_passthrough_plugin.enablement.bootloader.grub2 import Grub2
from gpu_passthrough_plugin.enablement.bootloader.rpm_ostree import RpmOstree
from gpu_passthrough_plugin.enablement.driver import Drivers, InitramfsContent
from gpu_passthrough_plugin.enablement.initramfs.dracut import Dracut
from gpu_passthrough_plugin.enablement.initramfs.initramfs_tools import (
    InitramfsTools,
)
from gpu_passthrough_plugin.enablement.initramfs.mkinitcpio import Mkinitcpio
from gpu_passthrough_plugin.enablement.iommu import Amd, Intel
from gpu_passthrough_plugin.enablement.plan import DesiredState
from gpu_passthrough_plugin.enablement.undo import undo
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.change_history import (
    CurrentFile,
    Enablement,
    FileBackup,
    History,
)
from gpu_passthrough_plugin.model.group import Member, Role
from gpu_passthrough_plugin.model.host_facts import CpuVendor, HostUse
from gpu_passthrough_plugin.model.reading import MISSING
from tests.golden import assert_golden, sections
from tests.trees import arch, boot, debian, installed, redhat
from tests.trees.host import Host
from tests.trees.systems import SYSTEMS
from tests.unit.enablement import test_undo, values
from tests.unit.enablement.bootloader import planning as bootloaders
from tests.unit.enablement.values import CARD, case
from tests.unit.isolation.values import (
    detail,
    facts,
    function,
    gpu,
    judged,
)

MESSAGES = Path(__file__).with_name("messages.txt")
SCRIPT = InitramfsContent("echo bound\n", ("vfio",))
DEFAULTS = "etc/default/grub"
ENTRY = f"boot/loader/entries/{boot.MACHINE}"


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(errors.Error) as caught:
        call()
    message = f"{type(caught.value).__name__}: {caught.value}"
    assert "\n" not in message
    return message


def plan(host: Host) -> Callable[[], object]:
    return lambda: bootloaders.plan(bootloaders.installed(host))


def of_bootloaders() -> Iterator[tuple[str, str]]:
    yield from of_grub_defaults()
    yield from of_menus_and_entries()


def of_grub_defaults() -> Iterator[tuple[str, str]]:
    def centos(text: str) -> Host:
        host = redhat.centos7()
        host.file(DEFAULTS, text)
        return host

    yield (
        "no defaults",
        refusal(
            lambda: Grub2().plan(
                bootloaders.system("debian12")._replace(
                    files={"/boot/grub/grub.cfg": b"linux /v\n"},
                    tools={"grub-mkconfig": "/usr/sbin/grub-mkconfig"},
                ),
                bootloaders.ON,
            )
        ),
    )
    yield (
        "defaults that only a shell evaluates",
        refusal(plan(centos('GRUB_CMDLINE_LINUX="$(x)"\n'))),
    )
    yield "defaults without the line", refusal(plan(centos("A=1\n")))
    drop_in = debian.debian12()
    drop_in.file("etc/default/grub.d/99-x.cfg", "GRUB_CMDLINE_LINUX=a\n")
    yield "a drop-in that overrides", refusal(plan(drop_in))
    yield (
        "no command",
        refusal(
            lambda: Debian().plan(
                bootloaders.system("debian12")._replace(tools={}),
                bootloaders.ON,
            )
        ),
    )


def of_menus_and_entries() -> Iterator[tuple[str, str]]:
    bls = redhat.centos7()
    bls.file("boot/grub2/grub.cfg", boot.BLS_MENU)
    yield "loader entries without grubby", refusal(plan(bls))
    two = redhat.centos7_efi()
    two.file("boot/efi/EFI/old/grub.cfg", boot.menu("O", [("/v-1", "ro")]))
    yield "two menus", refusal(plan(two))
    none = redhat.centos7_efi()
    none.file("boot/efi/EFI/centos/grub.cfg", boot.STUB)
    yield "no menu", refusal(plan(none))
    fedora = redhat.fedora()
    fedora.file(
        f"{ENTRY}-0-rescue.conf", boot.bls("F", "0", "ro intel_iommu=on,sm_on")
    )
    yield "grubby: entries that differ", refusal(plan(fedora))
    unset = redhat.rhel8()
    unset.file("boot/grub2/grubenv", boot.grubenv(saved_entry="0"))
    yield "grubby: a variable that is not set", refusal(plan(unset))
    tuned = redhat.rhel8()
    tuned.file(
        "boot/grub2/grubenv",
        boot.grubenv(kernelopts="ro", tuned_params="iommu=off"),
    )
    yield "grubby: out of reach", refusal(plan(tuned))
    hand = arch.arch()
    boot.kernel_install(hand, "boot/loader/entries", "6.14.6-arch1-1", "ro")
    yield "no kernel command line file", refusal(plan(hand))
    ostree = bootloaders.system("silverblue")
    yield "rpm-ostree: note", RpmOstree().plan(ostree, bootloaders.ON).notes[0]


def of_bindings() -> Iterator[tuple[str, str]]:
    twin, unread = gpu("07:00.0"), gpu("08:00.0", product_id=MISSING)
    file = "etc/modprobe.d/vfio.conf"
    theirs = {file: "options vfio-pci ids=10de:1430\n"}
    lost = CARD[0]._replace(vendor_id=0)
    yield (
        "ids not known",
        refusal(lambda: AddressBinding().plan(case(targets=(lost,)))),
    )
    yield (
        "ids of a file",
        refusal(
            lambda: AddressBinding().plan(case(twin, unread, files=theirs))
        ),
    )
    yield (
        "identical ids",
        refusal(lambda: IdsBinding().plan(case(twin, unread))),
    )
    yield (
        "another list",
        refusal(lambda: IdsBinding().plan(case(files=theirs))),
    )
    system = values.installed()
    kernels = (system.kernels[0]._replace(builtin=frozenset({"nouveau"})),)
    yield (
        "a driver that is built in",
        refusal(
            lambda: IdsBinding().plan(
                dataclasses.replace(
                    case(), installation=system._replace(kernels=kernels)
                )
            )
        ),
    )


def of_initramfs() -> Iterator[tuple[str, str]]:
    here = installed.installation

    def mkinitcpio(
        config: str = "", preset: str = "", content: InitramfsContent = SCRIPT
    ) -> Callable[[], object]:
        host = arch.arch()
        host.file("etc/mkinitcpio.conf", config)
        host.file("etc/mkinitcpio.d/linux.preset", preset)
        return lambda: Mkinitcpio().files(here(host.tree()), content)

    system = values.installed()
    yield (
        "no builder",
        refusal(
            lambda: InitramfsTools().build(system, system.kernels[0], SCRIPT)
        ),
    )
    yield (
        "dracut: /usr is read-only",
        refusal(
            lambda: Dracut().files(here(redhat.silverblue().tree()), SCRIPT)
        ),
    )
    yield "mkinitcpio: systemd", refusal(mkinitcpio("HOOKS=(systemd)\n"))
    yield "mkinitcpio: no udev", refusal(mkinitcpio("HOOKS=(base)\n"))
    yield (
        "mkinitcpio: hooks that only bash evaluates",
        refusal(mkinitcpio("HOOKS=($X)\n")),
    )
    yield (
        "mkinitcpio: a preset that only bash evaluates",
        refusal(mkinitcpio(preset="PRESETS=($X)\n")),
    )
    yield (
        "mkinitcpio: a unified image",
        refusal(mkinitcpio(preset="PRESETS=(a)\na_uki=/efi/a.efi\n")),
    )
    yield (
        "mkinitcpio: another configuration",
        refusal(
            mkinitcpio(
                "HOOKS=(udev)\n", "PRESETS=(a)\na_config=/c\na_image=/i\n"
            )
        ),
    )
    yield (
        "mkinitcpio: no configuration",
        refusal(
            lambda: Mkinitcpio().files(system, InitramfsContent("", ("vfio",)))
        ),
    )


def of_kernel_modules() -> Iterator[tuple[str, str]]:
    kernels = values.installed().kernels
    display, disk = gpu("07:00.0"), function("01:00.0", "144d:a80a", 0x010802)
    usb = function("00:14.0", "8086:a36d", 0x0C0330, driver="xhci_hcd")
    uses = (
        HostUse(disk.address, "mount / (/dev/dm-0)", ("nvme0", "dm-0")),
        HostUse(usb.address, "mount /boot (/dev/sda1)", ("usb1", "sda")),
    )
    displays = {
        "in use": (display._replace(driver="nouveau"), None),
        "driver unknown": (display._replace(driver=MISSING), None),
        "not read": (display, None),
        "modules unknown": (display, detail(display, modules=MISSING)),
        "no other": (display, detail(display, modules=("nouveau",))),
    }
    nvme = disk._replace(driver="nvme")
    cases = {
        **{name: (*of, "nouveau", uses) for name, of in displays.items()},
        "used": (nvme, None, "nvme", uses),
        "uses unknown": (nvme, None, "nvme", MISSING),
        "other name": (usb, detail(usb, modules=("x_pci",)), "x_pci", uses),
    }
    for name, (of, read, module, used) in cases.items():
        member = Member(of, Role.COMPANION, read)
        yield (
            f"blacklist: {name}",
            refusal(
                lambda m=member, n=module, u=used: kernel_modules.files(  # type: ignore[misc]
                    kernels, CARD, (m,), (n,), u
                )
            ),
        )


def of_targets() -> Iterator[tuple[str, str]]:
    policy = Policy(tuple(map(selector.parse, ("07:00.0", "1002:*"))))
    disk = function("07:00.2", "144d:a80a", 0x010802, iommu_group=2)
    critical = judged(
        gpu("07:00.0", iommu_group=2),
        disk,
        policy=policy,
        facts=facts(uses=(HostUse(disk.address, "mount / (/dev/sda2)"),)),
    )
    yield (
        "selection",
        refusal(lambda: targets.selection([critical], policy.select)),
    )
    bmc = judged(
        function("0a:03.0", "102b:0532", 0x030000),
        policy=Policy((selector.parse("class=03"),)),
    )
    for line in targets.selection([critical, bmc], ()).skipped:
        yield "skipped", line


def of_drivers() -> Iterator[tuple[str, str]]:
    nothing = values.installed()._replace(files={}, folders={}, tools={})
    yield "no driver", refusal(lambda: load.bootloader(nothing))
    yield "not installed", refusal(lambda: load.binding("magic"))
    installation = bootloaders.system("debian12")
    drivers = Drivers(Intel(), Debian(), InitramfsTools(), IdsBinding())
    others = Enablement((), "ids", (), "", {**drivers.names, "iommu": "amd"})
    yield (
        "other drivers",
        refusal(
            lambda: planning.plan(
                DesiredState(CARD, ()),
                drivers,
                installation,
                "",
                History(others),
            )
        ),
    )
    for name, make in SYSTEMS.items():
        system = bootloaders.installed(make())
        driver = bootloaders.chosen(system)
        yield (
            f"boot loader of {name}",
            f"{driver.name}: {driver.claims(system)}",
        )
    for iommu, vendor in (
        (Intel(), CpuVendor.INTEL),
        (Amd(), CpuVendor.AMD),
    ):
        by_cpu = facts(cpu_vendor=vendor, acpi_tables=MISSING)
        yield f"iommu {iommu.name}", str(iommu.claims(by_cpu))


def of_undo() -> Iterator[tuple[str, str]]:
    was, left, other = test_undo.WAS, test_undo.LEFT, test_undo.OTHER
    kept = FileBackup(was, left)
    merging = test_undo.merging
    cases = {
        "edited": (kept, merging(b"left\nx\n")),
        "edited in the same place": (
            kept,
            merging(b"q a=on,x b\n", b"q\n", b"q a=on b\n"),
        ),
        "nothing of ours left": (kept, merging(b"was\nx\n")),
        "contents not known": (kept, CurrentFile(other, True, None)),
        "removed": (kept, CurrentFile(None)),
        "regenerated": (FileBackup(was, None), merging(b"x\n", left=b"")),
        "original missing": (kept, CurrentFile(left, has_backup=False)),
        "mixed": (
            FileBackup(was, left, embedded=("a=on", "b")),
            CurrentFile(left),
        ),
    }
    for name, (backup, now) in cases.items():
        (step,) = test_undo.steps(test_undo.WRITE, backup, now)
        yield f"undo: {name}", step.note
    image = dataclasses.replace(test_undo.BUILD, paths=("/boot/i",))
    history = History(test_undo.ENABLEMENT, (image,), {"/boot/i": kept})
    (step,) = undo(history, {"/boot/i": CurrentFile(None)}, {"6.2": None})
    yield "undo: kernel removed", step.note


def steps() -> Iterator[str]:
    """What each step of every described system is called."""
    for make in SYSTEMS.values():
        installation = installed.installation(make().tree())
        for binding in (AddressBinding(), IdsBinding()):
            drivers = Drivers(
                Intel(),
                bootloaders.chosen(installation),
                load.initramfs(installation)[0],
                binding,
            )
            desired = DesiredState(
                CARD,
                (),
                ("nouveau",),
                iommu_passthrough=True,
                allow_unsafe_interrupts=True,
            )
            try:
                plan = planning.plan(desired, drivers, installation, "")
            except errors.Refused:
                continue
            yield from (change.step for change in plan.changes)


def test_golden_messages() -> None:
    messages: dict[str, str | list[str]] = {}
    for part in (
        of_targets, of_drivers, of_bindings, of_kernel_modules, of_initramfs,
        of_bootloaders, of_undo,
    ):  # fmt: skip
        for name, message in part():
            assert name not in messages or name in (
                "skipped",
                "blacklist: used",
            )
            if name in messages:
                name = f"{name}, too"
            messages[name] = message
    messages["steps"] = sorted(set(steps()))
    assert_golden(MESSAGES, sections(messages))
