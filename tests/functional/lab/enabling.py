"""Hosts that boot by themselves, and what enabling one changes of it."""

from __future__ import annotations

import json
from typing import Any

from . import project
from .host import EmulatedHost
from .product import CONFIG
from .ssh import CommandFailed

OFF = "intel_iommu=off"
COMMAND = "gpu-passthrough"
_LONG_S = 500.0

# libvirt writes there whenever it starts, and tests configure the product.
_SEEN = (
    "find /etc /boot -xdev -path /etc/libvirt -prune -o"
    " -path /etc/gpu-passthrough -prune -o"
)
_STATE = "/var/lib/gpu-passthrough"


def prepare(host: EmulatedHost, archived: bytes, argument: str) -> None:
    """Return once the host has the product, and boots by its own GRUB.

    :param argument: what its kernel has been told so far, if anything.
    """
    project.install(host, archived)
    host.put(CONFIG, b"[libvirt]\nstop_timeout_s = 1\n")
    if argument:
        host.sh(
            f"sed -i 's/CMDLINE_LINUX=\"/&{argument} /' /etc/default/grub;"
            f" sed -i 's/console=ttyS0/{argument} &/' /boot/grub/grub.cfg"
        )
    host.kernel_arguments = None


def files(host: EmulatedHost) -> dict[str, str]:
    """Return all that a file, folder or link of /etc and /boot is.

    Contents by their digest, modes, owners, times, where links lead, and
    extended attributes; of folders no times.
    """
    found: dict[str, str] = {}
    shown = host.sh(
        f"{_SEEN} -type d -printf '%p\\t%y %m %U:%G\\n';"
        f" {_SEEN} ! -type d -printf '%p\\t%y %m %U:%G %T@ %l\\n'"
    )
    for line in shown.splitlines():
        path, _, what = line.partition("\t")
        found[path] = what
    digests = host.sh(f"{_SEEN} -type f -print0 | xargs -0 sha256sum")
    for line in digests.splitlines():
        digest, _, path = line.partition("  ")
        found[path] += f" {digest}"
    return found


def differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return a line for each path that is not as it was."""
    return [
        f"{path}: {before.get(path)} -> {now.get(path)}"
        for path in sorted(before.keys() | now.keys())
        if before.get(path) != now.get(path)
    ]


def run(host: EmulatedHost, *argv: str, wanted: int = 0) -> str:
    """Return what a command of the product said, on both streams.

    :raises CommandFailed: when its status is not ``wanted``.
    """
    done = host.run((COMMAND, *argv), check=False, timeout_s=_LONG_S)
    if done.returncode != wanted:
        raise CommandFailed(done)
    return done.stdout + done.stderr


def asked(host: EmulatedHost, *argv: str, wanted: int = 0) -> Any:
    """Return what a command of the product printed as JSON."""
    argv = (COMMAND, *argv, "-f", "json")
    done = host.run(argv, check=False, timeout_s=_LONG_S)
    if done.returncode != wanted:
        raise CommandFailed(done)
    return json.loads(done.stdout)


def actions(rows: list[dict[str, str]]) -> set[str]:
    """Return what a plan does, of all its steps."""
    return {row["Action"] for row in rows}


def is_forgotten(host: EmulatedHost) -> bool:
    """Return whether nothing is remembered of an enabling."""
    argv = ("test", "-e", f"{_STATE}/enablement")
    return host.run(argv, check=False).returncode == 1


def words(host: EmulatedHost) -> list[str]:
    """Return what the running kernel was told, but for where it is from."""
    told = host.get("/proc/cmdline").decode().split()
    return [word for word in told if not word.startswith("BOOT_IMAGE=")]


def log(host: EmulatedHost) -> list[str]:
    """Return the lines of the kernel's log, without their times."""
    return host.sh("dmesg --notime").splitlines()
