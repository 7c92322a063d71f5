"""File systems that are full, read-only, or without hard links."""

from __future__ import annotations

import ctypes
import os
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from tests.functional.bootable import (
    EARLY,
    ENABLEMENT,
    IMAGE,
    MENU,
    MODULES,
    Bootable,
    bootable,
    changes_in,
)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="mounts a small file system of its own"
)
# Source: linux/sched.h.
_CLONE_NEWNS = 0x00020000


def apart(test: Callable[[], None]) -> None:
    """Nothing, where the test passes in mounts of its own."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(_CLONE_NEWNS):
                raise OSError(ctypes.get_errno(), "unshare")
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            test()
            status = 0
        except BaseException:  # noqa: BLE001 - told, then gone
            traceback.print_exc()
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def mounted(host: Bootable, folder: str, size_kib: int) -> None:
    """A small file system at a folder, with what was in it."""
    at = host.at(folder)
    before = host.state / "before"
    before.parent.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", at, before], check=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "none", at],
        check=True,
    )
    subprocess.run(["cp", "-a", f"{before}/.", at], check=True)


def filled(path: Path) -> None:
    """Take all the room there is."""
    with pytest.raises(OSError), open(path, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_full_boot_is_refused_before_anything(tmp_path: Path) -> None:
    host = bootable(tmp_path)

    def test() -> None:
        mounted(host, "/boot", 512)
        was = host.snapshot()
        with pytest.raises(errors.Refused) as caught:
            host.enable()
        assert "0 MiB free; expected 16 MiB" in str(caught.value)
        assert host.snapshot() == was
        assert host.is_clean()

    apart(test)


def test_a_menu_that_finds_no_room(tmp_path: Path) -> None:
    host = bootable(tmp_path)

    def test() -> None:
        mounted(host, "/boot/grub", 64)
        was = host.snapshot()
        filler = host.at("/boot/grub/filler")
        filled(filler)
        with pytest.raises(errors.Unavailable) as caught:
            host.enable()
        assert "failed at step 'boot menu'" in str(caught.value)
        assert "I/O error" in str(caught.value)
        host.disable()
        filler.unlink()
        assert host.snapshot() == was
        host.enable()
        assert changes_in(host.plan()) == []
        filled(filler)
        menu = host.text(MENU)
        with pytest.raises(errors.Unavailable, match="No space left"):
            host.disable()
        assert host.text(MENU) == menu
        filler.unlink()
        host.disable()
        assert host.snapshot() == was

    apart(test)


def test_a_file_that_finds_no_room(tmp_path: Path) -> None:
    host = bootable(tmp_path)

    def test() -> None:
        mounted(host, "/etc/modprobe.d", 64)
        was = host.snapshot()
        filler = host.at("/etc/modprobe.d/filler")
        filled(filler)
        with pytest.raises(errors.Unavailable) as caught:
            host.enable()
        assert str(caught.value) == (
            f"cannot write {MODULES}: No space left on device"
        )
        assert sorted(os.listdir(host.at("/etc/modprobe.d"))) == [
            "filler",
            "old.conf",
        ]
        filler.unlink()
        host.enable()
        host.disable()
        assert host.snapshot() == was

    apart(test)


def test_a_journal_that_finds_no_room(tmp_path: Path) -> None:
    host = bootable(tmp_path)

    def test() -> None:
        was = host.snapshot()
        host.state.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", host.state],
            check=True,
        )
        filler = host.state / "filler"
        filled(filler)
        with pytest.raises(errors.Unavailable, match=r"changes\.json"):
            host.enable()
        assert host.snapshot() == was
        filler.unlink()
        host.enable()
        filled(filler)
        host.disable()
        assert host.snapshot() == was

    apart(test)


def test_a_read_only_boot(tmp_path: Path) -> None:
    host = bootable(tmp_path)

    def test() -> None:
        mounted(host, "/boot", 65536)
        was = host.snapshot()
        remount = ["mount", "-o", "remount,ro", str(host.at("/boot"))]
        subprocess.run(remount, check=True)
        with pytest.raises(errors.Unavailable) as caught:
            host.enable()
        assert str(caught.value) == (
            f"cannot keep {IMAGE}: Read-only file system"
        )
        host.disable()
        assert host.snapshot() == was

    apart(test)


def test_room_is_wanted_twice_where_there_are_no_hard_links(
    tmp_path: Path,
) -> None:
    host = bootable(tmp_path)
    mib = 1 << 20

    def test() -> None:
        mounted(host, "/boot", 48 << 10)
        os.truncate(host.at(IMAGE), 8 * mib)
        host.write("/usr/sbin/build", f"#!/bin/sh\ncp .{IMAGE} .$1\n", 0o755)
        number = os.stat(host.at("/boot")).st_dev
        table = "1 0 {}:{} / /boot rw - {} none rw\n"
        major, minor = os.major(number), os.minor(number)
        host.write("/proc/self/mountinfo", table.format(major, minor, "vfat"))
        # 48 MiB less what two images and the margin of 16 MiB take.
        filler = host.at("/boot/filler")
        filler.write_bytes(bytes(20 * mib))
        with pytest.raises(errors.Refused, match="expected 32 MiB"):
            host.applier.apply([host.build("x")], ENABLEMENT)
        host.write("/proc/self/mountinfo", table.format(major, minor, "ext4"))
        with pytest.raises(errors.Unavailable, match=IMAGE):
            host.applier.apply([host.build("x")], ENABLEMENT)

    apart(test)


def test_a_folder_that_cannot_be_removed(tmp_path: Path) -> None:
    host = bootable(tmp_path)
    before = host.snapshot()
    host.enable()
    host.at(EARLY).unlink()

    def disable() -> None:
        folder = host.at("/etc/initramfs")
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        read_only = ["mount", "-o", "remount,bind,ro", str(folder)]
        subprocess.run(read_only, check=True)
        with pytest.raises(errors.Unavailable, match="/etc/initramfs/early"):
            host.disable()

    apart(disable)
    host.disable()
    assert host.snapshot() == before
    assert host.is_clean()
