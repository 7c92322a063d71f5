"""What was changed on a host, remembered for taking it back."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.model.enablement import Enablement

GONE = "gone"
"""In place of a digest: an act under way removes the file."""

ANY = "any"
"""In place of a digest: a command under way may write it."""


class Attributes(NamedTuple):
    """What a file has besides its contents.

    :param mode: permission bits alone.
    :param xattrs: extended attributes by name, which access lists and
        security labels are; sorted.
    """

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...] = ()


class Entry(NamedTuple):
    """One regular file as it was seen.

    :param digest: SHA-256 of its contents, in hexadecimal.
    """

    digest: str
    attributes: Attributes


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """One file that is changed, by the path that it really has.

    :param was: before the first change; None for no file.
    :param left: after the last change that was finished.
    :param coming: digest that a change under way gives it, or ``GONE``
        or ``ANY``; empty where none is under way.
    :param beside: where an image's original is kept; empty where a copy
        of the contents is kept with the journal.
    :param is_lost: whether ``was`` is no longer what there would be
        without us: the file was generated anew in between.
    :param mixed: words of ours that ``was`` has in it, because somebody
        edited the file around them.
    """

    was: Entry | None
    left: Entry | None
    coming: str = ""
    beside: str = ""
    is_lost: bool = False
    mixed: tuple[str, ...] = ()

    @property
    def digests(self) -> frozenset[str]:
        """Contents that are the original's or of our doing."""
        known = {e.digest for e in (self.was, self.left) if e is not None}
        return frozenset(known | {self.coming} - {"", GONE, ANY})


class Kind(enum.StrEnum):
    """What kind of change a record is of."""

    WRITE = "write"
    RUN = "run"
    BUILD = "build"


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One change that was begun.

    :param target: the change's own; one record for each.
    :param is_done: whether it was finished as well.
    :param paths: real paths of the files that it changes.
    :param undo: of a ``Run``, what takes it back.
    :param kernel: of a ``Build``, the release.
    :param inputs: of a ``Build``, the digest of what went into it.
    """

    kind: Kind
    step: str
    target: str
    is_done: bool = False
    paths: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    kernel: str = ""
    inputs: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """Everything that was done to a host and not yet taken back.

    :param records: oldest first.
    :param files: every file that they change, by path.
    :param folders: that were not there before.
    :param is_finished: whether the last plan was carried out to its end.
    """

    enablement: Enablement
    records: tuple[Record, ...] = ()
    files: Mapping[str, Kept] = dataclasses.field(default_factory=dict)
    folders: tuple[str, ...] = ()
    is_finished: bool = False

    def record(self, kind: Kind, target: str) -> Record | None:
        """That of one change."""
        return next(
            (r for r in self.records if (r.kind, r.target) == (kind, target)),
            None,
        )

    @property
    def unfinished(self) -> frozenset[str]:
        """Targets of changes that were begun and not finished."""
        return frozenset(r.target for r in self.records if not r.is_done)


class Seen(NamedTuple):
    """One remembered file as it is now.

    :param contents: what it holds, ``was`` and ``left`` what it held;
        empty unless somebody else wrote it since, and None where that is
        too long for a merge, or not kept.
    :param is_kept: whether what it was is still there to be put back.
    """

    entry: Entry | None
    is_kept: bool = True
    contents: bytes | None = b""
    was: bytes | None = b""
    left: bytes | None = b""


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """What somebody else did to a file that was changed.

    :param original: what it would hold without our change; None for no
        file.
    :param mixed: words of ours that ``original`` has in it nevertheless.
    :param is_lost: it was generated anew, so that what it would hold
        without us is not known.
    """

    path: str
    original: bytes | None
    mixed: tuple[str, ...] = ()
    is_lost: bool = False
