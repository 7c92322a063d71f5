"""What a host was enabled for, and what was changed for that.

It is remembered so that the changes can be verified and undone.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address


class Target(NamedTuple):
    """One function that is to be on vfio-pci after every boot.

    :param modules: drivers of any installed kernel that would bind it as
        well; sorted, without vfio's.
    :param iommu_group: its number at that time; None for no group.
    """

    address: Address
    vendor_id: int
    product_id: int
    class_code: int
    is_primary: bool
    modules: tuple[str, ...] = ()
    iommu_group: int | None = None

    @property
    def ids(self) -> str:
        """``vvvv:pppp``, as the kernel's ``ids=`` takes it."""
        return f"{self.vendor_id:04x}:{self.product_id:04x}"


@dataclasses.dataclass(frozen=True, slots=True)
class Enablement:
    """What ``host enable`` last configured, kept for ``host verify``.

    :param binding: name of the binding driver.
    :param arguments: kernel arguments that it added, as whole words.
    :param boot_id: of the boot in which it was done; empty if unknown.
    :param drivers: name of the driver of each kind: ``iommu``,
        ``bootloader``, ``initramfs``.
    """

    targets: tuple[Target, ...]
    binding: str
    arguments: tuple[str, ...]
    boot_id: str
    drivers: Mapping[str, str]


GONE = "gone"
"""In place of a digest: a change under way removes the file."""

ANY = "any"
"""In place of a digest: a command under way may write the file."""


class Attributes(NamedTuple):
    """What a file has besides its contents.

    :param mode: permission bits alone.
    :param xattrs: extended attributes by name, such as access lists and
        security labels; sorted.
    """

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...] = ()


class FileState(NamedTuple):
    """One regular file as it was read.

    :param digest: SHA-256 of its contents, in hexadecimal.
    """

    digest: str
    attributes: Attributes


@dataclasses.dataclass(frozen=True, slots=True)
class FileBackup:
    """One file that is changed, by its real path.

    :param original: before the first change; None where there was no file.
    :param last_written: after the last finished change; None where that
        removed the file.
    :param pending: digest that a change under way gives the file, or
        ``GONE`` or ``ANY``; empty where none is under way.
    :param backup_path: where the original of an image is; empty where a
        copy of the contents is kept with the history.
    :param is_lost: whether the file was generated again since, so that
        ``original`` is not what it would hold without this product.
    :param embedded: words of this product that ``original`` holds, because
        the file was edited around them.
    """

    original: FileState | None
    last_written: FileState | None
    pending: str = ""
    backup_path: str = ""
    is_lost: bool = False
    embedded: tuple[str, ...] = ()

    @property
    def known_digests(self) -> frozenset[str]:
        """Digests of the original and of what this product wrote."""
        states = (self.original, self.last_written)
        digests = {state.digest for state in states if state is not None}
        return frozenset(digests | {self.pending} - {"", GONE, ANY})


class ChangeKind(enum.StrEnum):
    """Which kind of change a record is of."""

    WRITE = "write"
    RUN = "run"
    BUILD = "build"


@dataclasses.dataclass(frozen=True, slots=True)
class ChangeRecord:
    """One change that was begun.

    :param target: of the change; each target has one record.
    :param is_done: whether it was finished.
    :param paths: real paths of the files that it changes.
    :param undo_argv: of a ``Run``, the command that undoes it.
    :param kernel: of a ``Build``, the release.
    :param inputs: of a ``Build``, the digest of what went into it.
    """

    kind: ChangeKind
    step: str
    target: str
    is_done: bool = False
    paths: tuple[str, ...] = ()
    undo_argv: tuple[str, ...] = ()
    kernel: str = ""
    inputs: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """Everything that was done to a host and not undone yet.

    :param records: oldest first.
    :param files: every file that they change, by real path.
    :param folders: that did not exist before.
    :param is_finished: whether the last plan was carried out to its end.
    """

    enablement: Enablement
    records: tuple[ChangeRecord, ...] = ()
    files: Mapping[str, FileBackup] = dataclasses.field(default_factory=dict)
    folders: tuple[str, ...] = ()
    is_finished: bool = False

    def record(self, kind: ChangeKind, target: str) -> ChangeRecord | None:
        """Return the record of the given change, or None."""
        return next(
            (r for r in self.records if (r.kind, r.target) == (kind, target)),
            None,
        )

    @property
    def unfinished(self) -> frozenset[str]:
        """Targets of changes that were begun and not finished."""
        return frozenset(r.target for r in self.records if not r.is_done)


class CurrentFile(NamedTuple):
    """One file of a history as it is now.

    :param state: None where there is no file.
    :param has_backup: whether the original is there to be restored.
    :param contents: what it holds; ``original`` and ``last_written`` are
        what it held.  All are empty unless others wrote the file since, and
        None where that is too long for a merge or not kept.
    """

    state: FileState | None
    has_backup: bool = True
    contents: bytes | None = b""
    original: bytes | None = b""
    last_written: bytes | None = b""


@dataclasses.dataclass(frozen=True, slots=True)
class ForeignEdit:
    """What others did to a file that was changed.

    :param original: what it would hold without this product's change; None
        for no file.
    :param embedded: words of this product that ``original`` holds all the
        same.
    :param is_lost: whether the file was generated again, so that what it
        would hold is not known.
    """

    path: str
    original: bytes | None
    embedded: tuple[str, ...] = ()
    is_lost: bool = False
