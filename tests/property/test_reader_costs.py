"""No text of 64 KiB costs a reader more than a moment, however odd it is.

Seeded, so that it is the same in each run.  A reader whose time grows with
the square of the text takes minutes here.
"""

from __future__ import annotations

import contextlib
import pkgutil
import random
import re
import time
from collections.abc import Callable, Iterable

import pytest

from gpu_passthrough_plugin import errors, formats
from gpu_passthrough_plugin.formats import (
    chroot_path,
    device_ids,
    domain_xml,
    grub_defaults,
    grub_menu,
    host_devices,
    iommu_arguments,
    kernel_cmdline,
    kernel_cmdline_edit,
    kernel_log,
    kernel_messages,
    loader_entries,
    mkinitcpio_config,
    modprobe,
    modules_alias,
    mountinfo,
    nova_alias,
    nova_device_spec,
    os_release,
    oslo_config_file,
    pci_config,
    pci_removal,
    qemu_arguments,
    routes,
    shell_assignments,
    sysfs_path,
    umockdev,
    vfio_pci_ids,
)
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.redaction import Redaction

SIZE = 64 << 10
# Of one text, on a machine that is busy; each takes some hundredths.
MAX_SECONDS = 2.0
MODALIAS = "pci:v000010DEd00001430sv000010DEsd00001190bc03sc00i00"
GPU = Address(0, 6, 0, 0)
REQUIREMENTS = kernel_cmdline.Requirements(
    ("intel_iommu=on",), ("intel_iommu=off",), (("vfio-pci.ids", ("1:2",)),)
)
# What the readers look for, and what their patterns stumble over.
PIECES = (
    "a", "w", "vfio-pci", "options ", "blacklist ", "install ", "#", "\\",
    "\\\n", "\n", " ", "\t", "\r\n", '"', "'", "`", "$(", "$A", "${A}", "(",
    ")", "=", "+=", "A=", "ids=10de:1430,", "[", "]", "{", "}", ",", ";", ":",
    "/", "../", "..", "-", "--", "0", "9", "0x", "%", "%25", "intel_iommu=on ",
    "GRUB_CMDLINE_LINUX=", "linux ", "menuentry ", "title x\n", "options a\n",
    "HOOKS=(", "PRESETS=('", "alias pci:v000010DEd*sv*", "alias vfio_pci:",
    "*", "*a", "?", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", "\\040",
    "eno1\t00000000\t00000000\t0003\t0\t0\t0\t00000000\n", "0" * 32 + " 00 ",
    "P: /devices/a\n", "E: SUBSYSTEM=pci\n", "A: a=", "L: 0\n", "H: a=00",
    "6,1,1,-;", "[    1.0] ", "0000:06:00.0: ", "vfio-pci 0000:06:00.0: fail",
    "<a>", "</a>", "<!--", "&lt;", "device_spec = {", '"vendor_id": "10de",',
    "host=06:00.0,", "vfio-pci,", "00:25:90:ab:cd:ef", "10.0.0.7", "a@b:",
    "http://", "password=", "--password ", "::", "UUID=", "DMAR: ", "AMD-Vi: ",
    "amdgpu: ", "arm-smmu ", "NVRM: ", "pciehp: Slot(", "habanalabs", "BAR 1",
    'ATTR{remove}="1"', 'ATTR{class}=="0x03*", ', "A" * 64, "Request device [",
    "fault ", "search ", "--fs-uuid ", "SXid ", "iommu", "[drm] ",
)  # fmt: skip


def installation(path: str, text: str) -> Installation:
    return Installation({path: text.encode()}, {}, {}, {}, ())


def walked(text: str) -> object:
    return chroot_path.resolve(
        text, lambda path: "../b/c" if path.endswith("a") else None
    )


def options(text: str) -> object:
    made = installation("/etc/modprobe.d/a.conf", text)
    return modprobe.parameters(made, (), "vfio_pci"), modprobe.blocks(
        made, (), "vfio_pci"
    )


def removals(text: str) -> object:
    rules = installation("/etc/udev/rules.d/a.rules", text)
    supergfxd = installation("/etc/supergfxd.conf", text)
    return [list(pci_removal.removals(i)) for i in (rules, supergfxd)]


def messages(text: str) -> object:
    patterns = vars(kernel_messages).values()
    return [
        pattern.search(line)
        for pattern in patterns
        if isinstance(pattern, re.Pattern)
        for line in kernel_log.parsed(text)
    ]


def words(text: str) -> tuple[str, ...]:
    return kernel_cmdline.split(text)


# By module, so that a new one is missed by the test below.
READERS: dict[str, tuple[Callable[[str], object], ...]] = {
    "chroot_path": (walked, lambda text: chroot_path.link_target("a/b", text)),
    "device_ids": (device_ids.parse,),
    "domain_xml": (lambda text: domain_xml.parse(text.encode(), "x"),),
    "grub_defaults": (
        lambda text: grub_defaults.command_lines(
            grub_defaults.files(
                installation("/etc/default/grub", text), has_drop_ins=False
            )
        ),
    ),
    "grub_menu": (
        lambda text: grub_menu.kernel_arguments("/boot/grub/grub.cfg", text),
        grub_menu.is_menu,
        grub_menu.has_loader_entries,
        grub_menu.environment,
    ),
    "host_devices": (
        lambda text: host_devices.host_functions(
            domain_xml.tree(text.encode(), "x").getroot()
        ),
        host_devices.number,
    ),
    "iommu_arguments": (
        lambda text: iommu_arguments.turned_off_by(words(text), "iommu"),
        lambda text: iommu_arguments.ineffective(words(text)),
        lambda text: iommu_arguments.interrupt_remapping_off(words(text)),
    ),
    "kernel_cmdline": (
        lambda text: kernel_cmdline.arguments(words(text)),
        lambda text: kernel_cmdline.intended_name(text, ("intel_iommu",)),
        lambda text: kernel_cmdline.insertion_index(words(text)),
    ),
    "kernel_cmdline_edit": (
        lambda text: kernel_cmdline_edit.difference(
            words(text), words(text[1:])
        ),
        lambda text: kernel_cmdline_edit.edit_text(text, REQUIREMENTS),
        lambda text: kernel_cmdline_edit.correct_text(text, REQUIREMENTS),
    ),
    "kernel_messages": (messages,),
    "kernel_log": (
        kernel_log.parsed,
        lambda text: kernel_log.relevant(kernel_log.parsed(text)),
        lambda text: kernel_log.about(kernel_log.parsed(text), GPU),
    ),
    "loader_entries": (
        lambda text: loader_entries.parse("/boot/a.conf", "/boot", text),
    ),
    "mkinitcpio_config": (
        lambda text: mkinitcpio_config.hooks([text]),
        lambda text: list(mkinitcpio_config.presets_in("a.preset", text)),
    ),
    "modprobe": (
        options,
        modprobe.normalise,
        lambda text: list(modprobe.cmdline_options(words(text), "vfio_pci")),
    ),
    "modules_alias": (
        lambda text: modules_alias.matching(text.encode(), MODALIAS),
        lambda text: modules_alias.vfio_drivers(text.encode()),
    ),
    "mountinfo": (
        mountinfo.parse,
        mountinfo.swap_partitions,
        mountinfo.unescape,
    ),
    "nova_alias": (lambda text: nova_alias.parse_aliases([text]),),
    "nova_device_spec": (lambda text: list(nova_device_spec.load(text)),),
    "os_release": (os_release.fields,),
    "oslo_config_file": (
        lambda text: oslo_config_file.read("a.conf", text.encode(), []),
    ),
    "pci_removal": (removals,),
    "pci_config": (
        lambda text: pci_config.port(text.encode()),
        lambda text: pci_config.reduced(text.encode()),
    ),
    "qemu_arguments": (
        lambda text: qemu_arguments.host_functions(text.split(" ")),
    ),
    "routes": (
        lambda text: list(routes.parse_ipv4(text)),
        lambda text: list(routes.parse_ipv6(text)),
        lambda text: list(routes.parse_next_hops(text)),
        routes.links_up,
    ),
    "shell_assignments": (
        shell_assignments.evaluate,
        shell_assignments.assignments,
    ),
    "sysfs_path": (sysfs_path.endpoints, sysfs_path.functions),
    "umockdev": (
        lambda text: umockdev.read(text.encode(), "x"),
        lambda text: umockdev.read(b"P: /devices/" + text.encode(), "x"),
        lambda text: umockdev.unescaped(text.encode()),
    ),
    "vfio_pci_ids": (
        vfio_pci_ids.parse,
        lambda text: vfio_pci_ids.misspelt(words(text)),
        lambda text: vfio_pci_ids.from_log(kernel_log.parsed(text)),
    ),
    "": (
        lambda text: Redaction().arguments(text),
        lambda text: Redaction().shell(text),
    ),
}
# Of values that somebody's configuration has, or of bytes from the kernel.
NO_TEXT = frozenset(
    {"nova_entry", "nova_pci_address", "nova_release", "rtnetlink"}
)


def texts(seed: str) -> Iterable[str]:
    """Yield single pieces and mixed ones, repeated to ``SIZE``."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    for _ in range(14):
        unit = "".join(chance.choices(PIECES, k=chance.choice((1, 1, 2, 3))))
        prefix = "".join(chance.choices(PIECES, k=chance.randrange(3)))
        yield prefix + (unit * (SIZE // len(unit)))


def test_every_reader_is_tried() -> None:
    modules = {
        module.name for module in pkgutil.iter_modules(formats.__path__)
    }
    assert modules - NO_TEXT == set(READERS) - {""}


@pytest.mark.parametrize("module", sorted(READERS))
def test_a_reader_takes_no_longer_than_its_text(module: str) -> None:
    for number, reader in enumerate(READERS[module]):
        for text in texts(f"{module} {number}"):
            started = time.process_time()
            with contextlib.suppress(ValueError, errors.Error):
                reader(text)
            seconds = time.process_time() - started
            assert seconds < MAX_SECONDS, (number, text[:60])
