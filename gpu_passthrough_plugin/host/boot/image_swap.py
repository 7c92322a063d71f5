"""How a new initramfs or boot menu replaces the present one.

It is made next to the present one, checked, and only then renamed over it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import NEW_PATH, Build
from gpu_passthrough_plugin.model.change_history import History
from gpu_passthrough_plugin.model.reading import encoded

# No tool takes such a file for an image: GRUB's 10_linux, update-initramfs
# and kernel-install look images up by the kernel's release alone.
NEW = ".gpu-passthrough-new"
OLD = ".gpu-passthrough-old"

_NOTES = "/var/lib/initramfs-tools"
_MIB = 1 << 20
# What an image may grow by, and what other programs need meanwhile.
_MARGIN_BYTES = 16 * _MIB
_UNKNOWN_BYTES = 64 * _MIB
_LINKLESS = frozenset({"exfat", "msdos", "vfat"})
# What a boot menu cannot do without: a kernel, or where entries are.
_ENTRY = re.compile(r"^\s*(linux(16|efi)?\s+\S|blscfg\b)", re.MULTILINE)
# A plausible image is not shorter than this part of the present one.
_PART = 0.5


class ImageSwap:
    """Builds, checks and swaps the files of ``Build`` and menu changes."""

    def __init__(self, files: Files, commands: Commands) -> None:
        self._files = files
        self._commands = commands

    def require_room(self, builds: Sequence[Build]) -> None:
        """Raise if a file system is too full for new images and old ones.

        :raises Refused: with what is free and what is needed.
        """
        needs: dict[int, tuple[int, int]] = {}
        for build in builds:
            image = self._files.real(build.image)
            device, _ = self._files.free_bytes(image)
            stays, peak = needs.get(device, (0, 0))
            size = self._files.size(image) or _UNKNOWN_BYTES
            is_kept = self._files.size(f"{image}{OLD}") is not None
            copies = 1 + (not is_kept and not self._has_links(device))
            peak = max(peak, stays + copies * size)
            needs[device] = stays if is_kept else stays + size, peak
        for build in builds:
            device, free = self._files.free_bytes(build.image)
            _, peak = needs[device]
            if free < peak + _MARGIN_BYTES:
                raise errors.Refused(
                    f"{build.image} is on a file system with"
                    f" {free // _MIB} MiB free; expected"
                    f" {(peak + _MARGIN_BYTES) // _MIB} MiB, to build the new"
                    " images next to the present ones; remove kernels that"
                    " are no longer booted and try again"
                )

    def build(self, build: Build) -> str:
        """Build and check a new image; return its real path.

        :raises Unavailable: when that fails; the present image stays.
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
        """Make and check a new boot menu; return its real path.

        :raises Unavailable: when that fails; the present menu stays.
        """
        menu = self._files.real(output)
        new = f"{menu}{NEW}"
        try:
            for path in _left(menu):
                self._files.remove(path)
            self._commands.run(_argv(argv, new), title)
            text = (self._files.read(new) or b"").decode(errors="replace")
            if not _ENTRY.search(text):
                raise errors.Unavailable(
                    f"failed at step '{title}': {argv[0]} wrote a boot menu"
                    f" without a kernel entry; {output} was left unchanged"
                )
        except errors.Error:
            for path in _left(menu):
                self._files.remove(path)
            raise
        return new

    def place(self, new: str, path: str) -> None:
        """Rename a new file over the present one; keep its mode and owner.

        :param path: the real path of the present file.
        """
        like = self._files.entry(path) or self._files.entry(new)
        if like:
            self._files.dress(new, like.attributes)
        self._files.move(new, path)

    def swap(self, build: Build, new: str) -> None:
        """Rename a new image over the present one, and update its note."""
        text = self.note_text(build, new)
        self.place(new, self._files.real(build.image))
        note = self.note(build.kernel)
        if note:
            self._files.put(note, text)

    def note(self, kernel: str) -> str | None:
        """Return where initramfs-tools notes an image's digest, or None.

        Up to about 0.130, update-initramfs does not touch an image whose
        digest differs from its note; Debian 12's keeps no notes.
        Source: initramfs-tools, update-initramfs.
        """
        path = self._files.real(f"{_NOTES}/{kernel}")
        return path if self._files.entry(path) else None

    def note_text(self, build: Build, new: str) -> bytes:
        """Return initramfs-tools' note of a new image, as sha1sum prints."""
        return encoded(f"{self._files.sha1(new)}  {build.image}\n")

    def sweep(self, history: History) -> None:
        """Remove temporary files that killed runs left."""
        for path, backup in history.files.items():
            self._files.sweep(path)
            for left in _left(path):
                self._files.remove(left)
            if backup.backup_path:
                self._files.sweep(backup.backup_path)

    def _check(self, build: Build, image: str, new: str) -> None:
        size, was = self._files.size(new), self._files.size(image) or 0
        if size is None or size < max(1, was * _PART):
            shown = "missing" if size is None else f"{size} bytes long"
            raise errors.Unavailable(
                f"the new image of {build.kernel} is {shown}; expected at"
                f" least half of the {was} bytes of {build.image}, which was"
                " left unchanged"
            )
        listing = self._commands.output(
            _argv(build.list_argv, new), f"list the image of {build.kernel}"
        )
        for pattern in build.required_patterns:
            if not re.search(pattern, listing, re.MULTILINE):
                raise errors.Unavailable(
                    f"the new image of {build.kernel} contains no file that"
                    f" matches {pattern!r}; {build.image} was left unchanged"
                )

    def _has_links(self, device: int) -> bool:
        """Return whether the file system of a device has hard links.

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
    """Return what a killed build may leave; the second is grub-mkconfig's."""
    return f"{path}{NEW}", f"{path}{NEW}.new"


def _argv(argv: Sequence[str], new: str) -> tuple[str, ...]:
    return tuple(word.replace(NEW_PATH, new) for word in argv)
