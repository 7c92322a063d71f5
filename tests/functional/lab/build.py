"""The steps from nothing to an image of the emulated host."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from . import sources, wheels
from .leash import ALL_DYING_WITH_US
from .progress import say
from .shelf import beside, digest

RECIPE = Path(__file__).with_name("recipe")
PACKAGES = RECIPE / "packages.txt"

# The names of an image's files; assemble.sh knows the first one as well.
DISK = "disk.raw"
KEY = "id_ed25519"
KNOWN_HOSTS = "known_hosts"

_NO_CHS = b"\xfe\xff\xff"
"""Source: UEFI 2.10, 5.2.1: a sector beyond what such an address says."""

_UNSEEN = ("man", "doc", "locale", "info")


INITRAMFS_TOOLS = "initramfs-tools"
"""The package that builds Debian's initramfs; ``dracut`` can as well."""


def debian(kept: Path, initramfs: str) -> Path:
    """Return a folder whose ``root.tar`` is Debian with our packages.

    It is a step of its own because it takes longest and changes least.

    :param initramfs: the package that builds the initramfs.
    """
    packages = PACKAGES.read_text().replace(INITRAMFS_TOOLS, initramfs)
    name = digest(packages.encode(), Path(sources.__file__))
    base = kept / f"debian-{name}"
    if not base.is_dir():
        say(f"lab image: unpacking Debian with {initramfs} (two minutes)")
        names = ",".join(packages.split())
        unseen = (f"--dpkgopt=path-exclude=/usr/share/{name}/*"
                  for name in _UNSEEN)  # fmt: skip
        with beside(base) as building:
            _run(*_root(), "mmdebstrap", "--quiet", "--variant=minbase",
                 *unseen, f"--include={names}", f"--keyring={sources.KEYRING}",
                 sources.SUITE, building / "root.tar",
                 *sources.debian())  # fmt: skip
    return base


def assemble(folder: Path, unpacked: Path, wanted: str) -> None:
    """Return once ``folder`` holds all of an image.

    :param unpacked: what ``debian`` returned.
    :param wanted: the text of a requirements.txt.
    """
    files = folder / "files"
    shutil.copytree(RECIPE / "root", files)
    say("lab image: making ssh keys and the nested guest")
    _make_keys(folder, files)
    _make_guests(files / "opt" / "lab")
    say("lab image: gathering the project's requirements")
    listed = files / "opt" / "lab" / "requirements.txt"
    listed.write_text(wanted)
    if wanted.strip():
        wheels.gather(listed, files / "opt" / "lab" / "wheels")
    say("lab image: configuring the host and writing its disk")
    _run(*_root(), "sh", RECIPE / "assemble.sh",
         unpacked / "root.tar", files, folder)  # fmt: skip
    shutil.rmtree(files)
    _partition(folder / DISK)
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


def _make_keys(folder: Path, files: Path) -> None:
    """Return once root has a key, and the host one that we know."""
    host_key = files / "etc" / "ssh" / "ssh_host_ed25519_key"
    for path in (folder / KEY, host_key):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab",
             "-f", path)  # fmt: skip
    public = host_key.with_suffix(".pub").read_text()
    (folder / KNOWN_HOSTS).write_text(f"emulated {public}")
    authorized = files / "root" / ".ssh" / "authorized_keys"
    authorized.parent.mkdir(parents=True)
    shutil.copy(folder / f"{KEY}.pub", authorized)


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
