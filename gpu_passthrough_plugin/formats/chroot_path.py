"""Paths below a tree's root, as text: relative, with ``/`` between parts."""

from __future__ import annotations

from collections.abc import Callable

from gpu_passthrough_plugin.model.reading import Unknown, Why

# Source: Linux, include/linux/namei.h (MAXSYMLINKS).
_MAX_LINKS = 40


def resolved(path: str, link: Callable[[str], str | None]) -> str | Unknown:
    """``path`` without any symbolic link in it, nor ``.`` or ``..``.

    Links are text: an absolute one starts at the tree's root, and ``..``
    stays there, so that no link leads out of a tree.

    :param link: a link's text, None for what is no link; is only given
        paths whose folder is resolved already.
    """
    done = ""
    todo = path.split("/")[::-1]
    links = 0
    while todo:
        part = todo.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{part}" if done else part
        text = link(here)
        if text is None:
            done = here
            continue
        links += 1
        if links > _MAX_LINKS:
            return Unknown(Why.UNREADABLE, "too many symbolic links")
        if text.startswith("/"):
            done = ""
        todo.extend(text.split("/")[::-1])
    return done


def name(path: str) -> str:
    """The last part of a path."""
    return path.rpartition("/")[2]


def joined(link: str, text: str) -> str:
    """Where a link leads to, when no other link is on the way."""
    folder = link.rpartition("/")[0]
    target = text if text.startswith("/") else f"{folder}/{text}"
    found = resolved(target, lambda _: None)
    return found if isinstance(found, str) else ""
