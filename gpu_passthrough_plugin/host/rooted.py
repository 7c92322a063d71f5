"""Real paths of a host's files below a root: no link leads out of it."""

from __future__ import annotations

import os
import posixpath

from gpu_passthrough_plugin import errors

# As many links as the kernel follows.  Source: path_resolution(7).
_MAX_LINKS = 40


def real(root: str, path: str) -> str:
    """The path behind every symbolic link, absolute in the host's terms.

    What is not there resolves to where it would be made.

    :raises Invalid: when the path is not absolute.
    :raises Unavailable: when links go round in a circle.
    """
    if not path.startswith("/"):
        raise errors.Invalid(f"path {path!r} is relative; wanted it absolute")
    found = "/"
    waiting = _names(path)
    links = 0
    while waiting:
        name = waiting.pop()
        if name == "..":
            found = posixpath.dirname(found)
            continue
        at = posixpath.join(found, name)
        target = _link(disk(root, at))
        if target is None:
            found = at
            continue
        links += 1
        if links > _MAX_LINKS:
            raise errors.Unavailable(
                f"{path} is a link that leads round in a circle; wanted a"
                " file behind it: see 'namei' for the way it goes"
            )
        waiting += _names(target)
        found = "/" if target.startswith("/") else found
    return found


def disk(root: str, path: str) -> str:
    """Where a real path of the host's is for this process."""
    return posixpath.join(root, path.lstrip("/")) if root != "/" else path


def _names(path: str) -> list[str]:
    return [n for n in reversed(path.split("/")) if n not in ("", ".")]


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
