"""How a host boots: the files, commands and kernels that drivers ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpu_passthrough_plugin.discovery.modules import module_name
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.model.installation import (
    Installation,
    Kernel,
    Reads,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, decoded

# Where commands are, the first of them that has one.
_BIN = ("usr/sbin", "usr/bin", "sbin", "bin")
_MODULES = "lib/modules"
# In the folder of each kernel's modules.
_BUILTIN, _BASE, _KERNEL = "modules.builtin", "pkgbase", "vmlinuz"
# Read on every host: which firmware booted it, and its kernels' files.
_EFI, _BOOT = "/sys/firmware/efi", "/boot"


def installation(tree: Tree, reads: Reads) -> Installation:
    """Return how the host boots; what does not exist is left out.

    :param reads: what every reader of it declares.
    """
    folders: dict[str, tuple[str, ...]] = {}
    for folder in (_EFI, _BOOT):
        _list(tree, folder, folders)
    paths = dict.fromkeys(_paths(tree, reads, folders))
    files: dict[str, bytes | Unknown] = {}
    links: dict[str, str] = {}
    for path in paths:
        data = tree.read(path[1:])
        if data is MISSING:
            continue
        files[path] = data
        real = tree.real(path[1:])
        if isinstance(real, str) and f"/{real}" != path:
            links[path] = f"/{real}"
    folders.setdefault(_BOOT, ())
    return Installation(
        files,
        links,
        folders,
        _tools(tree, reads.tools),
        _kernels(tree, folders[_BOOT], reads.images),
    )


def _paths(
    tree: Tree, reads: Reads, folders: dict[str, tuple[str, ...]]
) -> Iterator[str]:
    """Yield the paths of the files to read; note the folders listed."""
    for path in reads.files:
        folder, star, rest = path.partition("/*/")
        if not star:
            yield path
            continue
        for name in _list(tree, folder, folders):
            yield f"{folder}/{name}/{rest}"
    for entry in reads.folders:
        names = _list(tree, entry.path, folders)
        if entry.suffixes:
            yield from (
                f"{entry.path}/{name}"
                for name in names
                if name.endswith(entry.suffixes)
            )


def _list(
    tree: Tree, folder: str, folders: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    names = tree.names(folder[1:])
    if isinstance(names, Unknown):
        return ()
    folders[folder] = names
    return names


def _tools(tree: Tree, tools: Iterable[str]) -> dict[str, str]:
    """Return where commands are; reading a byte puts them in a recording."""
    paths = {}
    for name in sorted(tools):
        for folder in _BIN:
            path = f"{folder}/{name}"
            if tree.read(path, 1) is not MISSING:
                paths[name] = f"/{path}"
                break
    return paths


def _kernels(
    tree: Tree, boot: tuple[str, ...], images: tuple[str, ...]
) -> tuple[Kernel, ...]:
    """Return the kernels that can be booted.

    A removed kernel may have left its folder of modules.
    """
    names = tree.names(_MODULES)
    if isinstance(names, Unknown):
        return ()
    kernels = []
    for release in names:
        image = _image(tree, release, boot, images)
        is_there = f"vmlinuz-{release}" in boot or image is not None
        kernel = f"{_MODULES}/{release}/{_KERNEL}"
        if is_there or tree.read(kernel, 1) is not MISSING:
            kernels.append(Kernel(release, image, _builtin(tree, release)))
    return tuple(kernels)


def _image(
    tree: Tree, release: str, boot: tuple[str, ...], images: tuple[str, ...]
) -> str | None:
    """Return the path of the kernel's initramfs: the first name there is."""
    package = text(tree, f"{_MODULES}/{release}/{_BASE}")
    for form in images:
        if isinstance(package, Unknown) and "{package}" in form:
            continue
        name = form.replace("{release}", release)
        name = name.replace("{package}", str(package))
        if name in boot:
            return f"{_BOOT}/{name}"
    return None


def _builtin(tree: Tree, release: str) -> frozenset[str] | Unknown:
    data = tree.read(f"{_MODULES}/{release}/{_BUILTIN}")
    if isinstance(data, Unknown):
        return data
    return frozenset(map(module_name, decoded(data).split()))
