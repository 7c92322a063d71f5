"""Entries of the boot loader specification, a file each.

Source: UAPI group, The Boot Loader Specification, "Type #1".
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
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Folder, Reads

# Where a boot partition or an EFI system partition is mounted.
ROOTS = ("/boot", "/boot/efi", "/efi")
_FOLDER = "loader/entries"
_LOADER = "loader/loader.conf"
READS = Reads(
    files=tuple(f"{root}/{_LOADER}" for root in ROOTS),
    folders=tuple(Folder(f"{root}/{_FOLDER}", (".conf",)) for root in ROOTS),
)
_OPTIONS = re.compile(r"^(options[ \t]+)(.*?)(\r?)$", re.MULTILINE)


class Entry(NamedTuple):
    """One entry that starts a Linux kernel.

    :param root: where the partition is mounted that its paths begin at.
    :param fields: by key; the last one of each.
    """

    path: str
    root: str
    text: str
    fields: dict[str, str]

    @property
    def words(self) -> tuple[str, ...]:
        """All of its options."""
        return kernel_cmdline.split(
            " ".join(m[2] for m in _options(self.text))
        )

    @property
    def version(self) -> str:
        return self.fields.get("version", "")

    @property
    def files(self) -> tuple[str, ...]:
        """Absolute paths of its kernel and images."""
        rows = (row.split(None, 1) for row in self.text.splitlines())
        return tuple(
            posixpath.join(self.root, name.lstrip("/"))
            for row in rows
            if len(row) == 2 and row[0] in ("linux", "initrd")
            for name in row[1].split()
            if not name.startswith("$")
        )


def entries(found: Installation) -> tuple[Entry, ...]:
    """Every entry of a Linux kernel, by path."""
    return tuple(entry for root in ROOTS for entry in _entries(found, root))


def loader(found: Installation) -> str | None:
    """The path of systemd-boot's own configuration."""
    paths = (posixpath.join(root, _LOADER) for root in ROOTS)
    return next((path for path in paths if path in found.files), None)


def rewritten(
    entry: Entry, wanted: Requirements
) -> kernel_cmdline_edit.EditedText:
    """The entry's text with what is wanted in its options."""
    notes: list[str] = []

    def right(match: re.Match[str]) -> str:
        found = kernel_cmdline_edit.correct_text(match[2], wanted)
        notes.extend(found.notes)
        return f"{match[1]}{found.text}{match[3]}"

    text = _OPTIONS.sub(right, entry.text)
    fixed = entry._replace(text=text)
    missing = kernel_cmdline.missing(fixed.words, wanted)
    return kernel_cmdline_edit.EditedText(
        _extended(text, missing), tuple(dict.fromkeys(notes))
    )


def _extended(text: str, missing: tuple[str, ...]) -> str:
    """The text with more words in its last ``options``."""
    places = list(_options(text))
    if not missing:
        return text
    if not places:
        end = "" if text.endswith("\n") else "\n"
        return f"{text}{end}options {' '.join(missing)}\n"
    last = places[-1]
    more = kernel_cmdline_edit.edit_text(last[2], Requirements(missing)).text
    return text[: last.start(2)] + more + text[last.end(2) :]


def _entries(found: Installation, root: str) -> Iterator[Entry]:
    for path in found.paths(posixpath.join(root, _FOLDER), ".conf"):
        text = found.text(path) or ""
        rows = (row.split(None, 1) for row in text.splitlines())
        fields = {row[0]: row[1].strip() for row in rows if len(row) == 2}
        if "linux" in fields:
            yield Entry(path, root, text, fields)


def _options(text: str) -> Iterator[re.Match[str]]:
    return _OPTIONS.finditer(text)
