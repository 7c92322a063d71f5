"""How a host boots, as its files say it: boot loader, images, modules."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.reading import Unknown, as_text
from gpu_passthrough_plugin.model.reading import encoded as encoded


class Kernel(NamedTuple):
    """One installed kernel.

    :param release: such as ``6.1.0-18-amd64``.
    :param image: absolute path of its initramfs; None where none is in a
        place that this knows.
    :param builtin: names of those of its modules that are built in, with
        ``_`` for ``-``.
    """

    release: str
    image: str | None
    builtin: frozenset[str] | Unknown


class Installation(NamedTuple):
    """Everything that enabling reads of a host; paths are absolute.

    :param files: contents; what is not there is not in it.
    :param links: of those files that are reached through a symbolic link,
        the path that they really have.
    :param folders: what each folder that was looked into holds, sorted.
    :param tools: absolute paths of the commands that are installed.
    :param kernels: those with modules, by release.
    """

    files: Mapping[str, bytes | Unknown]
    links: Mapping[str, str]
    folders: Mapping[str, tuple[str, ...]]
    tools: Mapping[str, str]
    kernels: tuple[Kernel, ...]

    def content(self, path: str) -> bytes | None:
        """A file's contents; None where there is no such file.

        :raises ReadFailed: when it is there and could not be read.
        """
        found = self.files.get(path)
        if isinstance(found, Unknown):
            raise errors.ReadFailed(
                f"{path} is {found}; wanted to read how the host boots: run"
                " this on the host itself as root"
            )
        return found

    def text(self, path: str) -> str | None:
        """The same as text, in which every byte can be told again."""
        found = self.content(path)
        return None if found is None else as_text(found)

    def real(self, path: str) -> str:
        """The path that a file really has."""
        return self.links.get(path, path)

    def names(self, folder: str) -> tuple[str, ...]:
        """What a folder holds; nothing where there is none."""
        return self.folders.get(folder, ())

    def paths(self, folder: str, suffix: str = "") -> tuple[str, ...]:
        """Paths of the files read in a folder, in order."""
        names = (n for n in self.names(folder) if n.endswith(suffix))
        paths = (posixpath.join(folder, name) for name in names)
        return tuple(path for path in paths if path in self.files)

    @property
    def is_efi(self) -> bool:
        """Whether the firmware that booted it is UEFI."""
        return "/sys/firmware/efi" in self.folders
