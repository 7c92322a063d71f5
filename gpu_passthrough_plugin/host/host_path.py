"""Paths of the running host, or of a tree that is laid out like one."""

from __future__ import annotations

import os
import posixpath

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import chroot_path
from gpu_passthrough_plugin.model.reading import Unknown


def real_path(root: str, path: str) -> str:
    """Return the path behind every symbolic link, in the host's terms.

    No link leads out of ``root``.  The file need not exist.

    :raises Invalid: when the path is not absolute.
    :raises Unavailable: when its links form a circle.
    """
    if not path.startswith("/"):
        raise errors.Invalid(
            f"{path!r} is not an absolute path; expected one that starts"
            " with /"
        )
    resolved = chroot_path.resolve(
        path, lambda link: _read_link(local_path(root, f"/{link}"))
    )
    if isinstance(resolved, Unknown):
        raise errors.Unavailable(
            f"{path} cannot be opened ({resolved.detail}); 'namei {path}'"
            " shows where its symbolic links lead"
        )
    return f"/{resolved}"


def local_path(root: str, path: str) -> str:
    """Return a resolved path of the host as this process sees it."""
    return posixpath.join(root, path.lstrip("/")) if root != "/" else path


def _read_link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
