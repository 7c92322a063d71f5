"""Makes images and menus beside the present ones, checks and swaps them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import NEW_PATH, Build
from gpu_passthrough_plugin.model.change_history import History

# Neither is taken for a kernel's image: GRUB's 10_linux, update-initramfs
# and kernel-install look images up by the kernel's release alone.
NEW = ".gpu-passthrough-new"
OLD = ".gpu-passthrough-old"

_NOTES = "/var/lib/initramfs-tools"
_MIB = 1 << 20
# What an image grows by, and what others need meanwhile.
_MARGIN_BYTES = 16 * _MIB
_UNKNOWN_BYTES = 64 * _MIB
_LINKLESS = frozenset({"exfat", "msdos", "vfat"})
# What a boot menu cannot do without: a kernel, or where entries are.
_ENTRY = re.compile(r"^\s*(linux(16|efi)?\s+\S|blscfg\b)", re.MULTILINE)
# A plausible image is not shorter than this part of the present one.
_PART = 0.5


class ImageSwap:
    """What ``Build`` changes are carried out with."""

    def __init__(self, files: Files, commands: Commands) -> None:
        self._files = files
        self._commands = commands

    def require_room(self, builds: Sequence[Build]) -> None:
        """Nothing, where the new images and the present ones fit.

        :raises Refused: when a file system is too full for them.
        """
        wanted: dict[int, tuple[int, int]] = {}
        for build in builds:
            image = self._files.real(build.image)
            device, _ = self._files.free_bytes(image)
            stays, peak = wanted.get(device, (0, 0))
            size = self._files.size(image) or _UNKNOWN_BYTES
            is_kept = self._files.size(f"{image}{OLD}") is not None
            copies = 1 + (not is_kept and not self._has_links(device))
            peak = max(peak, stays + copies * size)
            wanted[device] = stays if is_kept else stays + size, peak
        for build in builds:
            device, free = self._files.free_bytes(build.image)
            _, peak = wanted[device]
            if free < peak + _MARGIN_BYTES:
                raise errors.Refused(
                    f"{build.image} is on a file system with"
                    f" {free // _MIB} MiB free; wanted"
                    f" {(peak + _MARGIN_BYTES) // _MIB} MiB for building the"
                    " new images beside the present ones: remove kernels"
                    " that are no longer booted, then try again"
                )

    def build(self, build: Build) -> str:
        """The real path of the new image, built and found good.

        :raises Unavailable: when it is not; the present one stays.
        """
        image = self._files.real(build.image)
        new = f"{image}{NEW}"
        self._files.remove(new)
        try:
            self._commands.run(
                _argv(build.argv, new), f"build the image of {build.kernel}"
            )
            self._check(build, image, new)
        except errors.Error:
            self._files.remove(new)
            raise
        return new

    def menu(self, argv: Sequence[str], output: str, title: str) -> str:
        """The real path of a boot menu's new file, made and found good.

        :raises Unavailable: when it is not; the present one stays.
        """
        menu = self._files.real(output)
        new = f"{menu}{NEW}"
        try:
            for path in _left(menu):
                self._files.remove(path)
            self._commands.run(_argv(argv, new), title)
            said = (self._files.read(new) or b"").decode(errors="replace")
            if not _ENTRY.search(said):
                raise errors.Unavailable(
                    f"failed at step '{title}': {argv[0]} made a menu"
                    f" without any kernel in it; {output} stays in place"
                )
        except errors.Error:
            for path in _left(menu):
                self._files.remove(path)
            raise
        return new

    def place(self, new: str, path: str) -> None:
        """Put a new file in the present one's place.

        It takes over mode and owner.

        :param path: its real path.
        """
        like = self._files.entry(path) or self._files.entry(new)
        if like:
            self._files.dress(new, like.attributes)
        self._files.move(new, path)

    def swap(self, build: Build, new: str) -> None:
        """Put the new image in the present one's place."""
        said = self.noted(build, new)
        self.place(new, self._files.real(build.image))
        note = self.note(build.kernel)
        if note:
            self._files.put(note, said)

    def note(self, kernel: str) -> str | None:
        """Where initramfs-tools notes the image's digest; None where not.

        Up to 0.130 or so update-initramfs leaves an image alone that is
        not the one it noted; Debian 12's keeps no notes.
        Source: initramfs-tools, update-initramfs.
        """
        path = self._files.real(f"{_NOTES}/{kernel}")
        return path if self._files.entry(path) else None

    def noted(self, build: Build, new: str) -> bytes:
        """What it would note of the new image, as sha1sum prints it."""
        return f"{self._files.sha1(new)}  {build.image}\n".encode()

    def sweep(self, history: History) -> None:
        """Take away what killed acts left beside the history's files."""
        for path, kept in history.files.items():
            self._files.sweep(path)
            for left in _left(path):
                self._files.remove(left)
            if kept.backup_path:
                self._files.sweep(kept.backup_path)

    def _check(self, build: Build, image: str, new: str) -> None:
        size, was = self._files.size(new), self._files.size(image) or 0
        if size is None or size < max(1, was * _PART):
            found = "missing" if size is None else f"of {size} bytes"
            raise errors.Unavailable(
                f"the new image of {build.kernel} is {found}; wanted at"
                f" least half of the {was} bytes of {build.image}, which"
                " stays in place"
            )
        listing = self._commands.output(
            _argv(build.list_argv, new), f"list the image of {build.kernel}"
        )
        for wanted in build.required_patterns:
            if not re.search(wanted, listing, re.MULTILINE):
                raise errors.Unavailable(
                    f"the new image of {build.kernel} lists nothing like"
                    f" {wanted!r}; wanted it inside: {build.image} stays in"
                    " place"
                )

    def _has_links(self, device: int) -> bool:
        """Whether the file system has hard links.

        Source: proc_pid_mountinfo(5).
        """
        number = f"{os.major(device)}:{os.minor(device)}"
        table = self._files.read("/proc/self/mountinfo") or b""
        for line in table.decode(errors="replace").splitlines():
            words = line.split()
            if number in words[2:3] and "-" in words:
                return words[words.index("-") + 1] not in _LINKLESS
        return True


def _left(path: str) -> tuple[str, str]:
    """What making a file anew may leave; the second is grub-mkconfig's."""
    return f"{path}{NEW}", f"{path}{NEW}.new"


def _argv(argv: Sequence[str], new: str) -> tuple[str, ...]:
    return tuple(word.replace(NEW_PATH, new) for word in argv)
