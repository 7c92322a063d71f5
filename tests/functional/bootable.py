"""A small host that boots: its files, and tools that act on them."""

from __future__ import annotations

import dataclasses
import os
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from gpu_passthrough_plugin.enablement.foreign_edits import edits
from gpu_passthrough_plugin.enablement.plan import repeat_unfinished
from gpu_passthrough_plugin.enablement.undo import undo
from gpu_passthrough_plugin.host.boot.apply import Applier
from gpu_passthrough_plugin.host.boot.journal import JournalStore
from gpu_passthrough_plugin.host.boot.revert import Reverter
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import (
    NEW_PATH,
    Action,
    Build,
    Change,
    Rebuild,
    Run,
    UndoStep,
    Write,
)
from gpu_passthrough_plugin.model.change_history import Enablement, History

ENABLEMENT = Enablement((), "ids", ("intel_iommu=on",), "", {})
RELEASE = "6.1.0-18-amd64"
GRUB = "/etc/default/grub"
MODULES = "/etc/modprobe.d/gpu-passthrough.conf"
EARLY = "/etc/initramfs/early/gpu/script"
OLD = "/etc/modprobe.d/old.conf"
MENU = "/boot/grub/grub.cfg"
OTHER_MENU = "/boot/grub2/grub.cfg"
IMAGE = f"/boot/initrd.img-{RELEASE}"
NOTE = f"/var/lib/initramfs-tools/{RELEASE}"
LINE = 'GRUB_CMDLINE_LINUX="quiet{}"\n'
IDS = b"options vfio-pci ids=1002:5046\n"

# Commands run in the root of the tree, so that paths are made relative.
_UPDATE_GRUB = """#!/bin/sh
set -e
. ./etc/default/grub
[ ! -e etc/fail-grub ] || { echo "no device for /" >&2; exit 3; }
for kernel in boot/vmlinuz-*; do
    echo "linux /$kernel $GRUB_CMDLINE_LINUX"
done > boot/grub/grub.cfg.new
mv boot/grub/grub.cfg.new boot/grub/grub.cfg
"""
# As GRUB's own: it writes over the file, and may be cut off there.
_MKCONFIG = """#!/bin/sh
. ./etc/default/grub
[ ! -e etc/empty-menu ] || { echo > ".$2"; exit 0; }
echo "# half" > ".$2.new"
echo "# half" > ".$2"
[ ! -e etc/fail-menu ] || { echo "no device for /" >&2; exit 3; }
for kernel in boot/vmlinuz-*; do
    echo "linux /$kernel $GRUB_CMDLINE_LINUX"
done > ".$2"
rm ".$2.new"
"""
_BUILD = """#!/bin/sh
set -e
echo "building $2"
{ echo "image of $2"; cat etc/modprobe.d/*.conf; } > ".$1"
[ ! -e etc/fail-build ] || { echo "no space left" >&2; exit 1; }
[ ! -e etc/short-build ] || echo short > ".$1"
[ ! -e etc/slow-build ] || { sleep 0.3; echo slow >> ".$1"; }
"""
_LIST = """#!/bin/sh
[ ! -e etc/fail-list ] || exit 1
cat ".$1"
"""
_MUTATIONS = frozenset(
    {
        "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove",
        "os.removexattr", "os.rename", "os.rmdir", "os.setxattr",
        "os.truncate", "os.utime", "subprocess.Popen",
    }
)  # fmt: skip


@dataclasses.dataclass
class Bootable:
    """The host below ``root``, and the state of what was done to it."""

    root: Path
    state: Path
    said: list[str] = dataclasses.field(default_factory=list)

    def fill(self) -> None:
        """Lay it out."""
        self.write(GRUB, LINE.format("") + "GRUB_TIMEOUT=5\n", 0o640)
        os.setxattr(self.at(GRUB), "user.origin", b"\0installer")
        self.write("/etc/fstab", "none\n")
        self.write(OLD, "options vfio-pci ids=10de:1430\n", 0o600)
        self.write(f"/boot/vmlinuz-{RELEASE}", "kernel")
        self.write(IMAGE, "image of old\n", 0o600)
        self.write(NOTE, f"0000  {IMAGE}\n")
        self.write(MENU, "linux /boot/vmlinuz quiet\n", 0o444)
        os.chown(self.at(MENU), 7, 8)
        self.write(OTHER_MENU, "linux /boot/vmlinuz quiet\n", 0o600)
        (self.root / "etc/sysconfig").mkdir()
        self.at("/etc/sysconfig/grub").symlink_to("/etc/default/grub")
        tools = {
            "update-grub": _UPDATE_GRUB, "mkconfig": _MKCONFIG,
            "build": _BUILD, "list": _LIST,
        }  # fmt: skip
        for name, script in tools.items():
            self.write(f"/usr/sbin/{name}", script, 0o755)
        for path in self.root.rglob("*"):
            if not path.is_symlink() and path.is_file():
                os.utime(path, ns=(1_600_000_000_123_456_789,) * 2)

    def at(self, path: str) -> Path:
        return self.root / path.removeprefix("/")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        at = self.at(path)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
        at.chmod(mode)

    def text(self, path: str) -> str:
        return self.at(path).read_text()

    def contents(self, path: str) -> bytes | None:
        return Files(str(self.root)).read(path)

    @property
    def tools(self) -> tuple[Files, Commands, JournalStore]:
        commands = Commands(
            str(self.state / "enable.log"),
            str(self.state / "commands.lock"),
            self.said.append,
            root=str(self.root),
            beat_s=0.1,
            timeout_s=20,
            patience_s=20,
        )
        changes = JournalStore(str(self.state / "enablement"))
        return Files(str(self.root)), commands, changes

    @property
    def applier(self) -> Applier:
        return Applier(*self.tools, self.said.append)

    def plan(self, ids: bytes = IDS) -> tuple[Change, ...]:
        """Every kind of change, made from what is there now."""
        line = self.contents(GRUB) or b""
        word = b" intel_iommu=on"
        grub = (
            line if word in line else line.replace(b"quiet", b"quiet" + word)
        )
        menu = self.contents(MENU) or b""
        applier = self.applier
        history = applier.history()
        built = applier.built(history)
        write = ("modules", MODULES, self.contents(MODULES), ids)
        return repeat_unfinished(
            (
                Write(*write),
                Write("early", EARLY, self.contents(EARLY), b"#!/bin/sh\n"),
                Write("modules", OLD, self.contents(OLD), None),
                self.build(ids.decode(), built.get(IMAGE) != ids.decode()),
                Write("arguments", "/etc/sysconfig/grub", line, grub),
                Run(
                    "boot menu",
                    ("/usr/sbin/update-grub",),
                    touches=(MENU, f"{MENU}.new"),
                    undo_argv=("/usr/sbin/update-grub",),
                    is_needed=word not in menu,
                ),
                Run(
                    "other menu",
                    ("/usr/sbin/mkconfig", "-o", NEW_PATH),
                    touches=(OTHER_MENU,),
                    undo_argv=("/usr/sbin/mkconfig", "-o", NEW_PATH),
                    is_needed=word not in (self.contents(OTHER_MENU) or b""),
                    output=OTHER_MENU,
                ),
            ),
            history,
        )

    def build(self, wanted: str, is_needed: bool = True) -> Build:
        return Build(
            "image",
            IMAGE,
            RELEASE,
            ("/usr/sbin/build", NEW_PATH, RELEASE),
            ("/usr/sbin/list", NEW_PATH),
            (wanted.strip(),),
            wanted,
            is_needed,
        )

    def enable(self, ids: bytes = IDS) -> None:
        applier = self.applier
        history = applier.history()
        found = (
            edits(history, applier.current_files(history)) if history else ()
        )
        applier.apply(self.plan(ids), ENABLEMENT, found)

    def undoing(self, history: History) -> tuple[UndoStep, ...]:
        applier = self.applier
        names = (p.name for p in (self.root / "boot").glob("vmlinuz-*"))
        releases = [name.removeprefix("vmlinuz-") for name in names]
        kernels = {
            release: f"/boot/initrd.img-{release}" for release in releases
        }
        return undo(history, applier.current_files(history), kernels)

    def disable(self) -> tuple[UndoStep, ...]:
        files, commands, changes = self.tools
        history = self.applier.history()
        if history is None:
            with changes.lock():
                if changes.read() is None:
                    changes.remove()
            return ()
        steps = self.undoing(history)

        def build(step: Rebuild) -> Build:
            built = self.build("image")
            return dataclasses.replace(built, image=step.image)

        reverter = Reverter(files, commands, changes, self.said.append)
        reverter.revert(history, steps, build)
        return steps

    def snapshot(self) -> dict[str, tuple[object, ...]]:
        """All that the host has, but for times of folders."""
        return {
            str(path.relative_to(self.root)): _state(path)
            for path in sorted(self.root.rglob("*"))
        }

    def is_clean(self) -> bool:
        """Whether nothing is left of what was done."""
        return (
            not (self.state / "enablement/changes.json").exists()
            and not (self.state / "enablement/kept").exists()
        )


def _state(path: Path) -> tuple[object, ...]:
    found = path.lstat()
    owner = (found.st_mode, found.st_uid, found.st_gid)
    if path.is_symlink():
        return (*owner, os.readlink(path))
    names = os.listxattr(path)
    xattrs = tuple((name, os.getxattr(path, name)) for name in names)
    if stat.S_ISDIR(found.st_mode):
        return (*owner, xattrs)
    return (*owner, xattrs, found.st_mtime_ns, path.read_bytes())


def bootable(folder: Path) -> Bootable:
    """One that nothing was done to yet."""
    host = Bootable(folder / "root", folder / "state")
    host.root.mkdir(parents=True)
    host.fill()
    return host


def changes_in(plan: Sequence[Change]) -> list[Change]:
    return [change for change in plan if change.action is not Action.KEEP]


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Whether the process was killed right before its act of that number.

    An act is whatever changes the file system or starts a command, as
    Python itself tells of it.  Source: docs.python.org, library/
    audit_events.
    """
    child = os.fork()
    if child == 0:
        _die_at(number)
        try:
            act()
        except BaseException:  # noqa: BLE001 - told, then gone
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _die_at(number: int) -> None:
    left = number

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        is_write = event == "open" and bool(
            isinstance(arguments[2], int)
            and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if event in _MUTATIONS or is_write:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
