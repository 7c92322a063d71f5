"""Which file a path names inside a root folder, with symbolic links followed.

The same file as the kernel opens below that root with openat2(2) and
``RESOLVE_IN_ROOT``: an absolute link starts at the root, and ``..`` of the
root is the root, so that no link leads out of it.
"""

from __future__ import annotations

from collections.abc import Callable

from gpu_passthrough_plugin.model.reading import Unknown, Why

# Source: Linux, include/linux/namei.h (MAXSYMLINKS).
_MAX_LINKS = 40


def resolve(
    path: str, read_link: Callable[[str], str | None]
) -> str | Unknown:
    """Return ``path`` without symbolic links, ``.`` and ``..``.

    The file need not exist.  Paths are relative to the root, without a
    leading ``/``; the root itself is ``""``.

    :param read_link: the target of a link, None for what is not a link;
        is only called with paths whose folder is resolved already.
    """
    resolved = ""
    pending = path.split("/")[::-1]
    links = 0
    while pending:
        part = pending.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            resolved = resolved.rpartition("/")[0]
            continue
        here = f"{resolved}/{part}" if resolved else part
        target = read_link(here)
        if target is None:
            resolved = here
            continue
        links += 1
        if links > _MAX_LINKS:
            return Unknown(Why.UNREADABLE, "too many symbolic links")
        if target.startswith("/"):
            resolved = ""
        pending.extend(target.split("/")[::-1])
    return resolved


def name(path: str) -> str:
    """Return the last component of a path."""
    return path.rpartition("/")[2]


def link_target(link: str, text: str) -> str:
    """Return the path that a link names, if no folder of it is a link.

    :param link: path of the link; ``text`` is what it says.
    """
    folder = link.rpartition("/")[0]
    path = text if text.startswith("/") else f"{folder}/{text}"
    target = resolve(path, lambda _: None)
    return target if isinstance(target, str) else ""
