"""The disk of an emulated host, built once and kept in a cache."""

import os
from dataclasses import dataclass
from pathlib import Path

from . import build, shelf, wheels

_CODE = (Path(build.__file__), Path(wheels.__file__))


@dataclass(frozen=True, slots=True)
class Image:
    """One built image: the folder that holds its files."""

    folder: Path

    @property
    def disk(self) -> Path:
        """The raw disk; runs write to overlays of it, never to it."""
        return self.folder / build.DISK

    @property
    def kernel(self) -> Path:
        """The kernel of the disk, for QEMU to boot directly."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initramfs that belongs to ``kernel``."""
        return self.folder / "initrd.img"

    @property
    def key(self) -> Path:
        """The private ssh key that root of the host accepts."""
        return self.folder / build.KEY

    @property
    def known_hosts(self) -> Path:
        """The host's own ssh key, under the name ``emulated``."""
        return self.folder / build.KNOWN_HOSTS


def cache() -> Path:
    """Return the folder that keeps images between sessions."""
    default = "~/.cache/gpu-passthrough-plugin"
    named = os.environ.get("GPU_PASSTHROUGH_CACHE", default)
    return Path(named).expanduser().resolve()


def ensure(
    requirements: Path, initramfs: str = build.INITRAMFS_TOOLS
) -> Image:
    """Return the image for ``requirements``, built first if need be.

    :param requirements: a requirements.txt; a missing one counts as empty.
    :param initramfs: the package that builds the host's initramfs.
    """
    kept = cache()
    wanted = _wanted(requirements)
    recipe = (wanted.encode(), initramfs.encode(), build.RECIPE)
    name = shelf.digest(*recipe, *_CODE)
    image = Image(kept / f"lab-{name}")
    with shelf.locked(kept):
        if not image.folder.is_dir():
            shelf.clear(kept)
            unpacked = build.debian(kept, initramfs)
            with shelf.beside(image.folder) as building:
                build.assemble(building, unpacked, wanted)
        shelf.used(image.folder)
    return image


def _wanted(requirements: Path) -> str:
    """Return what the image has to install of ``requirements``."""
    text = requirements.read_text() if requirements.is_file() else ""
    return wheels.for_image(text)
