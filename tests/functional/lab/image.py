"""The disk of an emulated host, built once and kept in a cache."""

import fcntl
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import sources, wheels
from .leash import ALL_DYING_WITH_US
from .progress import say

RECIPE = Path(__file__).with_name("recipe")
_CODE = (Path(__file__), Path(wheels.__file__))
_UNFINISHED = ".building"
_NO_CHS = b"\xfe\xff\xff"
"""Source: UEFI 2.10, 5.2.1: a sector beyond what such an address says."""
_UNSEEN = ("man", "doc", "locale", "info")


@dataclass(frozen=True, slots=True)
class Image:
    """One built image: the folder that holds its files."""

    folder: Path

    @property
    def disk(self) -> Path:
        """The raw disk; runs write to overlays of it, never to it."""
        return self.folder / "disk.raw"

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
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The host's own ssh key, under the name ``emulated``."""
        return self.folder / "known_hosts"


def cache() -> Path:
    """Return the folder that keeps images between sessions."""
    default = "~/.cache/gpu-passthrough-plugin"
    named = os.environ.get("GPU_PASSTHROUGH_CACHE", default)
    return Path(named).expanduser().resolve()


def ensure(requirements: Path, folder: Path | None = None) -> Image:
    """Return the image for ``requirements``, built first if need be.

    :param requirements: a requirements.txt; a missing one counts as empty.
    :param folder: the cache; by default what ``cache()`` says.
    """
    kept = folder or cache()
    kept.mkdir(parents=True, exist_ok=True)
    wanted = _wanted(requirements)
    image = Image(kept / f"lab-{_digest(wanted.encode(), RECIPE, *_CODE)}")
    with _locked(kept / "lab.lock"):
        _forget_unfinished(kept)
        if not image.folder.is_dir():
            with _beside(image.folder) as building:
                _build(Image(building), _debian(kept), wanted)
    return image


def _wanted(requirements: Path) -> str:
    """Return what the image has to install of ``requirements``."""
    text = requirements.read_text() if requirements.is_file() else ""
    return wheels.for_image(text)


def _digest(*parts: Path | bytes) -> str:
    """Return a short name for the contents of files, trees and bytes."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, bytes):
            digest.update(part)
            continue
        for path in sorted((part, *part.rglob("*"))):
            if path.is_file():
                digest.update(f"\0{path.name}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Return a context which one process at a time is in.

    What it starts holds the lock as well: when it is killed, the next one
    waits for the last of them.
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), True)
        yield


def _forget_unfinished(kept: Path) -> None:
    """Return once nothing is left of builds that were killed."""
    for folder in kept.glob(f"*{_UNFINISHED}"):
        shutil.rmtree(folder)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Return a folder that becomes ``target`` when all went well."""
    building = target.with_name(target.name + _UNFINISHED)
    building.mkdir()
    yield building
    building.rename(target)


def _debian(kept: Path) -> Path:
    """Return a folder whose ``root.tar`` is Debian with our packages.

    It is a step of its own because it takes longest and changes least.
    """
    packages = RECIPE / "packages.txt"
    base = kept / f"debian-{_digest(packages, Path(sources.__file__))}"
    if not base.is_dir():
        say("lab image: unpacking Debian (two minutes or so)")
        names = ",".join(packages.read_text().split())
        unseen = (f"--dpkgopt=path-exclude=/usr/share/{name}/*"
                  for name in _UNSEEN)  # fmt: skip
        with _beside(base) as building:
            _run(*_root(), "mmdebstrap", "--quiet", "--variant=minbase",
                 *unseen, f"--include={names}", f"--keyring={sources.KEYRING}",
                 sources.SUITE, building / "root.tar",
                 *sources.debian())  # fmt: skip
    return base


def _build(image: Image, debian: Path, wanted: str) -> None:
    """Return once ``image.folder`` holds all of an image."""
    files = image.folder / "files"
    shutil.copytree(RECIPE / "root", files)
    say("lab image: making ssh keys and the nested guest")
    _make_keys(image, files)
    _make_guests(files / "opt" / "lab")
    say("lab image: gathering the project's requirements")
    listed = files / "opt" / "lab" / "requirements.txt"
    listed.write_text(wanted)
    if wanted.strip():
        wheels.gather(listed, files / "opt" / "lab" / "wheels")
    say("lab image: configuring the host and writing its disk")
    _run(*_root(), "sh", RECIPE / "assemble.sh",
         debian / "root.tar", files, image.folder)  # fmt: skip
    shutil.rmtree(files)
    _partition(image.disk)
    say("lab image: done")


def _partition(disk: Path) -> None:
    """Return once the disk has one partition, from 1 MiB to its end."""
    first, sectors = 2048, disk.stat().st_size // 512
    entry = struct.pack(
        "<B3sB3sII", 0x80, _NO_CHS, 0x83, _NO_CHS, first, sectors - first
    )
    with disk.open("r+b") as stream:
        stream.seek(446)
        stream.write(entry.ljust(64, b"\0") + b"\x55\xaa")


def _make_keys(image: Image, files: Path) -> None:
    """Return once root has a key, and the host one that we know."""
    host_key = files / "etc" / "ssh" / "ssh_host_ed25519_key"
    for path in (image.key, host_key):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab",
             "-f", path)  # fmt: skip
    public = host_key.with_suffix(".pub").read_text()
    image.known_hosts.write_text(f"emulated {public}")
    authorized = files / "root" / ".ssh" / "authorized_keys"
    authorized.parent.mkdir(parents=True)
    shutil.copy(image.key.with_suffix(".pub"), authorized)


def _make_guests(into: Path) -> None:
    """Return once ``into`` has the nested guests' boot disks."""
    into.mkdir(parents=True)
    variants = {"guest": (), "guest-acpi": ("-DPOWER_BUTTON",)}
    for name, flags in variants.items():
        compiled, disk = into / f"{name}.o", into / f"{name}.img"
        _run("gcc", "-c", "-m32", *flags, "-o", compiled,
             RECIPE / "guest" / "pci.S")  # fmt: skip
        _run("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat",
             "binary", "-o", disk, compiled)  # fmt: skip
        os.truncate(disk, 1 << 20)
        disk.chmod(0o644)
        compiled.unlink()


def _root() -> tuple[str, ...]:
    """Return what makes a command root, in its own user namespace or in ours.

    Its processes and its mounts end with it, even when it is killed.
    """
    mapped = () if os.geteuid() == 0 else ("--map-root-user", "--map-auto")
    return (*ALL_DYING_WITH_US, *mapped, "--")


def _run(*argv: str | Path) -> None:
    """Return once a command succeeded; what it says goes to stderr."""
    subprocess.run(argv, check=True, stdout=sys.stderr, close_fds=False)
