"""What module configuration says, and which ids vfio-pci was given."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.evidence import Evidence
from gpu_passthrough_plugin.diagnosis.log import lines as log_lines
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown, known
from gpu_passthrough_plugin.model.reads import Folder, Reads

# A file hides those of its name in the folders after its own.
# Source: modprobe.d(5).
FOLDERS = ("/etc/modprobe.d", "/run/modprobe.d", "/lib/modprobe.d")
READS = Reads(folders=tuple(Folder(f, (".conf",)) for f in FOLDERS))
COMMANDS = frozenset(
    {
        "alias", "blacklist", "config", "include", "install", "options",
        "remove", "softdep", "weakdep",
    }
)  # fmt: skip
VFIO = "vfio_pci"
_ADDED = re.compile(r"vfio[-_]pci: add \[([0-9a-f]{4,8}:[0-9a-f]{4,8})", re.I)
_ANY = frozenset({"ffff", "ffffffff"})


class Line(NamedTuple):
    """One line of module configuration, as words."""

    path: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}: {' '.join(self.words)}"

    @property
    def module(self) -> str:
        """What it is about, with ``_``; empty where it does not say."""
        return self.words[1].replace("-", "_") if self.words[1:] else ""


class Ids(NamedTuple):
    """The ids that one place gives to vfio-pci, as ``vvvv:pppp``.

    :param where: the line that says them.
    :param path: of its file; empty for the command line and the log.
    """

    values: tuple[str, ...]
    where: str
    path: str = ""

    def covers(self, ids: str) -> bool:
        return any(_covers(value, ids) for value in self.values)


def lines(found: Installation) -> Iterator[Line]:
    """Every line that modprobe reads, in its order of files."""
    paths: dict[str, str] = {}
    for folder in FOLDERS:
        for path in found.paths(folder, ".conf"):
            paths.setdefault(posixpath.basename(path), path)
    for name in sorted(paths):
        path = paths[name]
        data = found.files[path]
        if not isinstance(data, Unknown):
            text = data.decode("utf-8", "replace").replace("\\\n", " ")
            for line in text.splitlines():
                words = tuple(line.split())
                if words and not words[0].startswith("#"):
                    yield Line(path, words)


def unread(found: Installation) -> tuple[str, ...]:
    """Paths of module configuration that could not be read."""
    return tuple(
        path
        for folder in FOLDERS
        for path in found.paths(folder)
        if isinstance(found.files[path], Unknown)
    )


def configured_ids(found: Installation) -> Iterator[Ids]:
    """Of ``options vfio-pci ids=…`` lines."""
    for line in lines(found):
        if line.words[0] != "options" or line.module != VFIO:
            continue
        for word in line.words[2:]:
            name, _, value = word.partition("=")
            if name == "ids":
                yield Ids(_values(value), str(line), line.path)


def told_ids(evidence: Evidence) -> Iterator[Ids]:
    """Of ``vfio-pci.ids=`` on the running kernel's command line."""
    for word in known(evidence.facts.kernel_arguments) or ():
        name, _, value = word.partition("=")
        if name.replace("-", "_") == f"{VFIO}.ids":
            yield Ids(_values(value), f"/proc/cmdline: {word}")


def taken_ids(evidence: Evidence) -> Ids | None:
    """Those that vfio-pci said it took; None where it said nothing."""
    said = [(_ADDED.search(line), line) for line in log_lines(evidence)]
    added = [(match[1], line) for match, line in said if match]
    if not added:
        return None
    return Ids(_values(",".join(v for v, _ in added)), added[0][1])


def given_ids(evidence: Evidence) -> tuple[Ids, ...]:
    """Those that configuration gives; the log's where nothing else does.

    A vfio-pci that is built in never sees modprobe's.
    """
    found = [*told_ids(evidence)]
    if not is_builtin(evidence):
        found += configured_ids(evidence.installation)
    if found:
        return tuple(found)
    taken = taken_ids(evidence)
    return () if taken is None else (taken,)


def is_builtin(evidence: Evidence) -> bool:
    """Whether the running kernel is known to have vfio-pci built in."""
    kernel = evidence.kernel
    if kernel is None or isinstance(kernel.builtin, Unknown):
        return False
    return VFIO in kernel.builtin


def _values(text: str) -> tuple[str, ...]:
    """The first two fields of each: they say which model it is."""
    values = text.strip('"').lower().split(",")
    return tuple(":".join(v.split(":")[:2]) for v in values if v)


def _covers(value: str, ids: str) -> bool:
    pairs = zip(value.split(":"), ids.split(":"), strict=False)
    return all(v in _ANY or v.lstrip("0") == i.lstrip("0") for v, i in pairs)
