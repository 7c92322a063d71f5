"""Every reader of a foreign text, as a function of that text."""

from __future__ import annotations

import re
from collections.abc import Callable

from gpu_passthrough_plugin.formats import (
    aer_counters,
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
    libvirt_test_node,
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
    timestamp,
    umockdev,
    url,
    vfio_pci_ids,
)
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import encoded
from gpu_passthrough_plugin.model.redaction import Redaction

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
    "RxErr 1\n", "TOTAL_ERR_COR 0\n",
)  # fmt: skip


def installation(path: str, text: str) -> Installation:
    return Installation({path: encoded(text)}, {}, {}, {}, ())


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
    "aer_counters": (lambda text: aer_counters.parse(encoded(text)),),
    "chroot_path": (walked, lambda text: chroot_path.link_target("a/b", text)),
    "device_ids": (device_ids.parse,),
    "libvirt_test_node": (
        libvirt_test_node.as_test,
        lambda text: libvirt_test_node.plugged(text, "<hostdev/>"),
        lambda text: libvirt_test_node.unplugged(text, "<hostdev/>"),
    ),
    "domain_xml": (lambda text: domain_xml.parse(encoded(text), "x"),),
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
            domain_xml.tree(encoded(text), "x").getroot()
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
        lambda text: modules_alias.matching(encoded(text), MODALIAS),
        lambda text: modules_alias.vfio_drivers(encoded(text)),
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
        lambda text: oslo_config_file.read("a.conf", encoded(text), []),
    ),
    "pci_removal": (removals,),
    "pci_config": (
        lambda text: pci_config.port(encoded(text)),
        lambda text: pci_config.reduced(encoded(text)),
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
    "timestamp": (lambda text: timestamp.parse_since(text, 10**15),),
    "umockdev": (
        lambda text: umockdev.read(encoded(text), "x"),
        lambda text: umockdev.read(b"P: /devices/" + encoded(text), "x"),
        lambda text: umockdev.unescaped(encoded(text)),
    ),
    "url": (
        url.redacted,
        lambda text: url.hidden(text, url.secrets(text)),
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
