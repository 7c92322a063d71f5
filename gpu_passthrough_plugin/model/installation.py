"""How a host boots: which files a driver reads, and what they hold.

Discovery reads the union of what every installed driver declares, and a
recording keeps it.  A driver is handed no file that no driver declared.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.reading import Unknown, as_text
from gpu_passthrough_plugin.model.reading import encoded as encoded

T = TypeVar("T")

# A driver declares how a host boots, and not what it holds: neither the
# kernel's own files, of which discovery reads what it needs, nor devices.
_CLOSED = frozenset({"dev", "proc", "sys"})
_FOLDERS_MAX = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Folder:
    """A folder whose names are listed, and some of whose files are read.

    :param path: absolute, in the host's terms.
    :param suffixes: ends of the names of the files that are read: all files
        for ``""``, none (the names alone) where there is no suffix.
    """

    path: str
    suffixes: tuple[str, ...] = ("",)


@dataclasses.dataclass(frozen=True, slots=True)
class Reads:
    """Files, folders, commands and image names that one reader looks for.

    Nothing of it has to exist on a host.  ``a | b`` is the union, in order.

    :param files: absolute paths, in the host's terms; one component may be
        ``*``, which stands for every name in its folder (and lists it).
    :param tools: names of commands, without a folder.
    :param images: names in ``/boot`` that a kernel's initramfs may have,
        with ``{release}`` for the kernel's release or ``{package}`` for the
        name of its package; the first that exists is the kernel's.
    :raises Invalid: when a path is not absolute and plain, or lies in
        ``/dev``, ``/proc`` or ``/sys``; when a name is not plain.
    """

    files: tuple[str, ...] = ()
    folders: tuple[Folder, ...] = ()
    tools: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for path in self.files:
            _require_path(path, wildcards=1)
        for folder in self.folders:
            _require_path(folder.path, wildcards=0)
        for name in (*self.tools, *self.images):
            if "/" in name or name.startswith(".") or not _is_plain(name):
                raise errors.Invalid(
                    f"{name!r} is not a plain name; expected the name of a"
                    " command or of an image in /boot, without a folder"
                )

    def __or__(self, other: Reads) -> Reads:
        return Reads(
            _union(self.files, other.files),
            _union(self.folders, other.folders),
            _union(self.tools, other.tools),
            _union(self.images, other.images),
        )


def _require_path(path: str, wildcards: int) -> None:
    parts = path.split("/")[1:]
    is_plain = path.startswith("/") and all(
        part not in ("", ".", "..") and _is_plain(part) for part in parts
    )
    stars = [part for part in parts if "*" in part]
    is_glob = len(stars) <= wildcards and all(part == "*" for part in stars)
    if not is_plain or not is_glob or "*" in (parts[0], parts[-1]):
        raise errors.Invalid(
            f"{path!r} is not a path that a driver may read; expected an"
            " absolute path without '..', such as /etc/default/grub"
        )
    if parts[0] in _CLOSED or len(parts) > _FOLDERS_MAX:
        raise errors.Invalid(
            f"{path!r} is not a path that a driver may read; expected a file"
            f" of the installed system, at most {_FOLDERS_MAX} folders deep"
            f" and not in /{', /'.join(sorted(_CLOSED))}"
        )


def _is_plain(name: str) -> bool:
    return bool(name) and name.isprintable()


def _union(first: tuple[T, ...], second: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*first, *second)))


class Kernel(NamedTuple):
    """One installed kernel.

    :param release: such as ``6.1.0-18-amd64``.
    :param image: absolute path of its initramfs; None where there is none
        at a path that a driver declares.
    :param builtin: names of those of its modules that are built in, with
        ``_`` for ``-``.
    """

    release: str
    image: str | None
    builtin: frozenset[str] | Unknown


class Installation(NamedTuple):
    """Everything that enabling reads of a host; paths are absolute.

    :param files: contents by path; a file that does not exist is not in it.
    :param links: real paths of those files that are behind symbolic links.
    :param folders: names in each folder that was listed, sorted.
    :param tools: absolute paths of the commands that are installed.
    :param kernels: those with modules, by release.
    """

    files: Mapping[str, bytes | Unknown]
    links: Mapping[str, str]
    folders: Mapping[str, tuple[str, ...]]
    tools: Mapping[str, str]
    kernels: tuple[Kernel, ...]

    def content(self, path: str) -> bytes | None:
        """Return a file's contents; None where there is no such file.

        :raises ReadFailed: when the file exists and could not be read.
        """
        content = self.files.get(path)
        if isinstance(content, Unknown):
            raise errors.ReadFailed(
                f"{path} could not be read: {content}; run this on the host"
                " itself as root"
            )
        return content

    def text(self, path: str) -> str | None:
        """Return the file as text; ``encoded`` restores its bytes."""
        content = self.content(path)
        return None if content is None else as_text(content)

    def real(self, path: str) -> str:
        """Return the path of a file behind every symbolic link."""
        return self.links.get(path, path)

    def names(self, folder: str) -> tuple[str, ...]:
        """Return the names in a folder; () where there is no folder."""
        return self.folders.get(folder, ())

    def paths(self, folder: str, suffix: str = "") -> tuple[str, ...]:
        """Return the paths of the files that were read in a folder."""
        names = (n for n in self.names(folder) if n.endswith(suffix))
        paths = (posixpath.join(folder, name) for name in names)
        return tuple(path for path in paths if path in self.files)

    @property
    def is_efi(self) -> bool:
        """Whether the firmware that booted it is UEFI."""
        return "/sys/firmware/efi" in self.folders
