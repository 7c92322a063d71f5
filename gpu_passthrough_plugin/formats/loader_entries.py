"""Entries of the Boot Loader Specification: a file each, below loader/entries.

Source: UAPI Group, The Boot Loader Specification, "Type #1 Boot Loader
Specification Entries"; systemd, src/shared/bootspec.c (boot_entry_load).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.formats import (
    kernel_cmdline,
    kernel_cmdline_edit,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.formats.kernel_cmdline_edit import EditedText
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Reads,
)

# Where a boot partition or an EFI system partition is mounted.
ROOTS = ("/boot", "/boot/efi", "/efi")
SUFFIX = ".conf"
_FOLDER = "loader/entries"
_LOADER_CONF = "loader/loader.conf"
READS = Reads(
    files=tuple(f"{root}/{_LOADER_CONF}" for root in ROOTS),
    folders=tuple(Folder(f"{root}/{_FOLDER}", (SUFFIX,)) for root in ROOTS),
)
_BLANKS = " \t\r"
_BLANK = re.compile(f"[{_BLANKS}]+")
_KEY = "options"
_OPTIONS = re.compile(rf"^([ \t]*{_KEY}[ \t]+)(.*?)(\r?)$", re.MULTILINE)


class LoaderEntry(NamedTuple):
    """One entry that starts a Linux kernel.

    :param root: where the partition is mounted that its paths begin at.
    :param fields: by key; of several values of one key, the last.
    """

    path: str
    root: str
    text: str
    fields: dict[str, str]

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the words of all its ``options``."""
        options = [value for key, value in _fields(self.text) if key == _KEY]
        return kernel_cmdline.split(" ".join(options))

    @property
    def version(self) -> str:
        return self.fields.get("version", "")

    @property
    def files(self) -> tuple[str, ...]:
        """Return the absolute paths of its kernel and its images.

        A path that a variable of GRUB's stands for is left out.
        """
        return self._paths("linux", "initrd")

    @property
    def images(self) -> tuple[str, ...]:
        """Return the absolute paths of its images."""
        return self._paths("initrd")

    def _paths(self, *keys: str) -> tuple[str, ...]:
        return tuple(
            posixpath.join(self.root, name.lstrip("/"))
            for key, value in _fields(self.text)
            if key in keys
            for name in value.split()
            if not name.startswith("$")
        )


def entries(installation: Installation) -> tuple[LoaderEntry, ...]:
    """Return every entry of a Linux kernel, by path."""
    return tuple(
        entry for root in ROOTS for entry in _entries(installation, root)
    )


def loader_conf(installation: Installation) -> str | None:
    """Return the path of systemd-boot's own configuration, if there."""
    paths = (posixpath.join(root, _LOADER_CONF) for root in ROOTS)
    return next((path for path in paths if path in installation.files), None)


def edited(entry: LoaderEntry, requirements: Requirements) -> EditedText:
    """Return the entry's text with what is required in its options."""
    notes: list[str] = []

    def correct(match: re.Match[str]) -> str:
        options = kernel_cmdline_edit.correct_text(match[2], requirements)
        notes.extend(options.notes)
        return f"{match[1]}{options.text}{match[3]}"

    text = _OPTIONS.sub(correct, entry.text)
    missing = kernel_cmdline.missing(
        entry._replace(text=text).arguments, requirements
    )
    if missing:
        text = _extended(text, missing)
    return EditedText(text, tuple(dict.fromkeys(notes)))


def _extended(text: str, words: tuple[str, ...]) -> str:
    """Return the text with more words in its last ``options``."""
    places = list(_OPTIONS.finditer(text))
    if not places:
        end = "" if text.endswith("\n") else "\n"
        return f"{text}{end}options {' '.join(words)}\n"
    last = places[-1]
    options = kernel_cmdline_edit.edit_text(last[2], Requirements(words)).text
    return text[: last.start(2)] + options + text[last.end(2) :]


def parse(path: str, root: str, text: str) -> LoaderEntry | None:
    """Return an entry; None for one that starts no Linux kernel."""
    fields = dict(_fields(text))
    return LoaderEntry(path, root, text, fields) if "linux" in fields else None


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield each line's key and value; a key without a value says nothing."""
    for line in text.split("\n"):
        key, *values = _BLANK.split(line.strip(_BLANKS), maxsplit=1)
        if values and not key.startswith("#"):
            yield key, values[0]


def _entries(installation: Installation, root: str) -> Iterator[LoaderEntry]:
    for path in installation.paths(posixpath.join(root, _FOLDER), SUFFIX):
        entry = parse(path, root, installation.text(path) or "")
        if entry is not None:
            yield entry
