"""QEMU's command line for a run of an emulated host.

All paths of a run are relative to its folder, which QEMU is started in.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .image import Image
from .topology import Topology, arguments

CONSOLE = "serial.log"
MONITOR = "monitor.sock"
"""Where QEMU answers questions (QMP)."""

_OVERLAY = "disk.qcow2"
_ROOT = ("root=/dev/vda1", "rw", "console=ttyS0")
_QUICK = ("mitigations=off", "audit=0", "no_timer_check")
"""Kernel arguments that spare an emulated processor needless work."""
_TELLING = ("sysrq_always_enabled=1",)
"""What lets ``postmortem`` ask the kernel."""


def make_overlay(image: Image, workdir: Path) -> None:
    """Return once there is a disk that only this run writes to."""
    overlay = workdir / _OVERLAY
    if not overlay.exists():
        subprocess.run(
            ("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw",
             "-b", str(image.disk), str(overlay)),
            check=True,
        )  # fmt: skip


def command(topology: Topology, ssh_port: int) -> tuple[str, ...]:
    """Return QEMU with a host's machine, disk, network and console.

    Disk and network are what a real host would never give away.

    :param ssh_port: the loopback's port that leads to the host's ssh.
    """
    forward = f"hostfwd=tcp:127.0.0.1:{ssh_port}-:22"
    return (
        "qemu-system-x86_64", *arguments(topology),
        "-name", f"{topology.name},debug-threads=on",
        "-drive", f"file={_OVERLAY},if=none,id=root,cache=unsafe",
        "-device", "virtio-blk-pci,drive=root,bus=pcie.0,addr=2.0",
        "-netdev", f"user,id=net,{forward}",
        "-device", "virtio-net-pci,netdev=net,bus=pcie.0,addr=3.0",
        "-serial", f"file:{CONSOLE}",
        "-qmp", f"unix:{MONITOR},server=on,wait=off",
        "-no-reboot",
    )  # fmt: skip


def kernel(image: Image, told: Sequence[str] | None) -> tuple[str, ...]:
    """Return what spares a host its boot loader; nothing for None."""
    if told is None:
        return ()
    return (
        "-kernel", str(image.kernel),
        "-initrd", str(image.initrd),
        "-append", " ".join((*_ROOT, *_QUICK, *_TELLING, *told)),
    )  # fmt: skip
