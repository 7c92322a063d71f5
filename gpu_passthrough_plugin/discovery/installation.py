"""How a host boots: boot loader, kernels, images, module configuration."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.model.installation import Installation, Kernel
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, decoded

_FILES = (
    "boot/efi/loader/loader.conf",
    "boot/grub/grub.cfg",
    "boot/grub2/grub.cfg",
    "boot/grub2/grubenv",
    "boot/loader/loader.conf",
    "efi/loader/loader.conf",
    "etc/default/grub",
    "etc/dracut.conf",
    "etc/initramfs-tools/initramfs.conf",
    "etc/initramfs-tools/modules",
    "etc/kernel/cmdline",
    "etc/kernel/install.conf",
    "etc/kernel/proxmox-boot-uuids",
    "etc/mkinitcpio.conf",
    "etc/modules",
    "etc/os-release",
    "etc/sysconfig/bootloader",
    "etc/sysconfig/grub",
    "run/ostree-booted",
    "run/ostree/staged-deployment",
)
# Folders, and the ends of the names of the files in them that are read.
_FOLDERS = (
    ("boot/efi/loader/entries", (".conf",)),
    ("boot/loader/entries", (".conf",)),
    ("efi/loader/entries", (".conf",)),
    ("etc/default/grub.d", (".cfg",)),
    ("etc/dracut.conf.d", (".conf",)),
    ("etc/initcpio/hooks", ("",)),
    ("etc/initcpio/install", ("",)),
    ("etc/initramfs-tools/conf.d", ("",)),
    ("etc/initramfs-tools/hooks", ("",)),
    ("etc/initramfs-tools/scripts/init-top", ("",)),
    ("etc/kernel/postinst.d", ()),
    ("etc/mkinitcpio.conf.d", (".conf",)),
    ("etc/mkinitcpio.d", (".preset",)),
    ("etc/modprobe.d", (".conf",)),
    ("etc/modules-load.d", (".conf",)),
    ("lib/modprobe.d", (".conf",)),
    ("run/modprobe.d", (".conf",)),
    ("sys/firmware/efi", ()),
    ("usr/lib/dracut/modules.d/90gpu-passthrough", ("",)),
    ("usr/lib/modules-load.d", (".conf",)),
)
# Vendors' folders on the EFI system partition hold a grub.cfg each.
_EFI = "boot/efi/EFI"
_BIN = ("usr/sbin", "usr/bin", "sbin", "bin")
_TOOLS = (
    "bootctl", "dracut", "grub-mkconfig", "grub2-mkconfig", "grubby",
    "kernel-install", "lsinitcpio", "lsinitramfs", "lsinitrd", "mkinitcpio",
    "mkinitramfs", "proxmox-boot-tool", "restorecon", "rpm-ostree",
    "sdbootutil", "update-grub", "update-initramfs",
)  # fmt: skip
_MODULES = "lib/modules"
# Beside each kernel's modules: what is built in, and its package's name.
_BUILTIN, _BASE, _KERNEL = "modules.builtin", "pkgbase", "vmlinuz"
# Names of images.  Source: initramfs-tools, update-initramfs(8); dracut(8);
# SUSE, mkinitrd(8); mkinitcpio(8), whose images are named by package.
_IMAGES = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}")


def installation(tree: Tree) -> Installation:
    """Everything that enabling looks at; what is missing is left out."""
    files: dict[str, bytes | Unknown] = {}
    links: dict[str, str] = {}
    folders: dict[str, tuple[str, ...]] = {}
    for path in (*_FILES, *_listed(tree, folders)):
        data = tree.read(path)
        if data is MISSING:
            continue
        files[f"/{path}"] = data
        real = tree.real(path)
        if isinstance(real, str) and real != path:
            links[f"/{path}"] = f"/{real}"
    boot = tree.names("boot")
    folders["/boot"] = () if isinstance(boot, Unknown) else boot
    return Installation(
        files, links, folders, _tools(tree), _kernels(tree, folders["/boot"])
    )


def _listed(tree: Tree, folders: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Paths of the files to read in folders, which are noted."""
    for folder, ends in _FOLDERS:
        names = tree.names(folder)
        if isinstance(names, Unknown):
            continue
        folders[f"/{folder}"] = names
        if ends:
            yield from (f"{folder}/{n}" for n in names if n.endswith(ends))
    vendors = tree.names(_EFI)
    if not isinstance(vendors, Unknown):
        folders[f"/{_EFI}"] = vendors
        yield from (f"{_EFI}/{vendor}/grub.cfg" for vendor in vendors)


def _tools(tree: Tree) -> dict[str, str]:
    """Where commands are; a byte of each is read, for it to be recorded."""
    found = {}
    for name in _TOOLS:
        for folder in _BIN:
            path = f"{folder}/{name}"
            if tree.read(path, 1) is not MISSING:
                found[name] = f"/{path}"
                break
    return found


def _kernels(tree: Tree, boot: tuple[str, ...]) -> tuple[Kernel, ...]:
    """Kernels that can be booted; modules of removed ones may be left."""
    names = tree.names(_MODULES)
    if isinstance(names, Unknown):
        return ()
    found = []
    for release in names:
        image = _image(tree, release, boot)
        is_there = f"vmlinuz-{release}" in boot or image is not None
        kernel = f"{_MODULES}/{release}/{_KERNEL}"
        if is_there or tree.read(kernel, 1) is not MISSING:
            found.append(Kernel(release, image, _builtin(tree, release)))
    return tuple(found)


def _image(tree: Tree, release: str, boot: tuple[str, ...]) -> str | None:
    base = text(tree, f"{_MODULES}/{release}/{_BASE}")
    names = [form.format(release) for form in _IMAGES]
    if not isinstance(base, Unknown):
        names.append(f"initramfs-{base}.img")
    return next((f"/boot/{name}" for name in names if name in boot), None)


def _builtin(tree: Tree, release: str) -> frozenset[str] | Unknown:
    data = tree.read(f"{_MODULES}/{release}/{_BUILTIN}")
    if isinstance(data, Unknown):
        return data
    return frozenset(map(module, decoded(data).split()))


def module(path: str) -> str:
    """The name of the module that a file holds, with ``_`` for ``-``."""
    name = path.rpartition("/")[2].partition(".")[0]
    return name.replace("-", "_")
