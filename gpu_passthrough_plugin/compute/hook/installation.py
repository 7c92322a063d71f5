"""Whether the product's installation is fit for libvirt's hook.

libvirt runs the hook as root at every start of a guest: what it runs must be
permanent, and writable by root only.
"""

from __future__ import annotations

import dataclasses
import posixpath
import stat
from collections.abc import Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.hook import PathFact

# A clean-up, a reboot or the end of a session may empty these.
# Source: hier(7), file-hierarchy(7).
TEMPORARY_FOLDERS = (
    "/tmp",  # noqa: S108 - only compared
    "/var/tmp",  # noqa: S108 - only compared
    "/var/cache",
    "/dev/shm",  # noqa: S108 - only compared
    "/run",
    "/var/run",
)
_CACHE = ".cache"
_SHOWN = 3
_REMEDY = (
    "install the product into a folder that only root can write to, such as"
    " /opt/gpu-passthrough, and run 'hook install' from there"
)


@dataclasses.dataclass(frozen=True, slots=True)
class ProductInstallation:
    """Where the product runs from.

    :param paths: the interpreter, the package and everything in it, each
        folder above them, and the targets of symbolic links among these.
    :param caches: further folders that are caches on this host.
    :param is_quickstart: whether quickstart.sh made the environment.
    """

    python: str
    package: str
    paths: tuple[PathFact, ...]
    caches: tuple[str, ...] = ()
    is_quickstart: bool = False


def require_lasting(installation: ProductInstallation) -> None:
    """Raise if the hook may disappear, or others than root can change it.

    :raises Refused: with what to do instead.
    """
    if installation.is_quickstart:
        raise errors.Refused(
            f"{installation.python} is in an environment that quickstart.sh"
            " made for a trial and may delete at its next run;"
            f" {_REMEDY}"
        )
    faults = [*_temporary(installation)] or [*_open_to_others(installation)]
    if faults:
        rest = len(faults) - _SHOWN
        more = f" and {rest} more" if rest > 0 else ""
        raise errors.Refused(
            "libvirt runs the hook as root at every start of a guest, but"
            f" {', '.join(faults[:_SHOWN])}{more}; {_REMEDY}"
        )


def _temporary(installation: ProductInstallation) -> Iterator[str]:
    folders = (*TEMPORARY_FOLDERS, *installation.caches)
    for path in (installation.python, installation.package):
        above = [f for f in folders if posixpath.commonpath((path, f)) == f]
        if not above and _CACHE in path.split("/"):
            above = [f"{path.partition(f'/{_CACHE}/')[0]}/{_CACHE}"]
        if above:
            yield f"{path} is below {above[0]}, which may be emptied"


def _open_to_others(installation: ProductInstallation) -> Iterator[str]:
    """Yield a fault for each path that others than root can change.

    Source: systemd, src/basic/chase.c (CHASE_SAFE) draws the same line.
    """
    for fact in installation.paths:
        mode = f"(mode {stat.S_IMODE(fact.mode):04o})"
        if fact.uid:
            yield f"{fact.path} belongs to user {fact.uid}"
        elif stat.S_ISLNK(fact.mode):
            continue
        elif fact.mode & stat.S_IWOTH:
            yield f"every user can write to {fact.path} {mode}"
        elif fact.mode & stat.S_IWGRP and fact.gid:
            yield f"group {fact.gid} can write to {fact.path} {mode}"
