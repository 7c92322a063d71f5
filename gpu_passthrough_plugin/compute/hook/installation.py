"""Whether libvirt may run a hook from where this product is installed.

libvirt runs the hook as root at every start of a guest, for as long as the
host lives: what it runs must stay, and must be root's alone.
"""

from __future__ import annotations

import dataclasses
import posixpath
import stat
from collections.abc import Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.hook import PathFact

# What a clean-up, a reboot or another user's session takes away.
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
_INSTEAD = (
    "install the product into a folder of root's, such as"
    " /opt/gpu-passthrough, and run 'hook install' from there"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Installation:
    """Where the product runs from.

    :param paths: the interpreter, the package and all that is in it, each
        folder above them, and what symbolic links among these lead to.
    :param caches: folders that are caches here, besides those that always
        are.
    :param is_quickstart: whether quickstart.sh made the environment.
    """

    python: str
    package: str
    paths: tuple[PathFact, ...]
    caches: tuple[str, ...] = ()
    is_quickstart: bool = False


def require_lasting(installation: Installation) -> None:
    """Raise if the hook could disappear, or be changed by others than root.

    :raises Refused: with what to do instead.
    """
    if installation.is_quickstart:
        raise errors.Refused(
            f"{installation.python} is in an environment that quickstart.sh"
            " made for trying the product out, and that its next run may"
            f" delete; {_INSTEAD}"
        )
    faults = [*_temporary(installation)] or [*_open_to_others(installation)]
    if faults:
        rest = len(faults) - _SHOWN
        more = f" and {rest} more" if rest > 0 else ""
        raise errors.Refused(
            "libvirt runs the hook as root at every start of a guest, but"
            f" {', '.join(faults[:_SHOWN])}{more}; {_INSTEAD}"
        )


def _temporary(installation: Installation) -> Iterator[str]:
    folders = (*TEMPORARY_FOLDERS, *installation.caches)
    for path in (installation.python, installation.package):
        above = [f for f in folders if posixpath.commonpath((path, f)) == f]
        if not above and _CACHE in path.split("/"):
            above = [f"{path.partition(f'/{_CACHE}/')[0]}/{_CACHE}"]
        if above:
            yield f"{path} is below {above[0]}, which may be emptied"


def _open_to_others(installation: Installation) -> Iterator[str]:
    """Who else may change what root would run.

    Source: systemd, src/basic/chase.c (CHASE_SAFE) draws the same line.
    """
    for fact in installation.paths:
        if fact.uid:
            yield f"{fact.path} belongs to user {fact.uid}"
        elif stat.S_ISLNK(fact.mode):
            continue
        elif fact.mode & stat.S_IWOTH:
            yield f"everybody may write to {fact.path}"
        elif fact.mode & stat.S_IWGRP and fact.gid:
            yield f"group {fact.gid} may write to {fact.path}"
