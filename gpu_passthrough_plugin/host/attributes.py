"""Mode, owner, times and extended attributes of a file."""

from __future__ import annotations

import errno
import os
import stat

from gpu_passthrough_plugin.model.change_history import Attributes

# Of the contents, by the kernel's own reckoning: never carried over to
# others.  Source: kernel, Documentation/ABI/testing/evm and ima_policy.
_OF_CONTENTS = frozenset({"security.ima", "security.evm"})
_LABEL = "security.selinux"
_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS})


def attributes(handle: int) -> Attributes:
    """Those of an open file."""
    found = os.fstat(handle)
    return Attributes(
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        tuple((n, os.getxattr(handle, n)) for n in _names(handle)),
    )


def apply(handle: int, wanted: Attributes, *, with_time: bool) -> None:
    """Give an open file these, and no others.

    The owner goes first: changing it takes set-user-id bits away.
    """
    found = os.fstat(handle)
    if (found.st_uid, found.st_gid) != (wanted.uid, wanted.gid):
        os.fchown(handle, wanted.uid, wanted.gid)
    os.fchmod(handle, wanted.mode)
    names = {name for name, _ in wanted.xattrs}
    for name in _names(handle):
        # One without a label never had one to be taken away.
        if name not in names and name != _LABEL:
            os.removexattr(handle, name)
    for name, value in wanted.xattrs:
        os.setxattr(handle, name, value)
    if with_time:
        os.utime(handle, ns=(wanted.mtime_ns, wanted.mtime_ns))


def _names(handle: int) -> list[str]:
    try:
        return sorted(set(os.listxattr(handle)) - _OF_CONTENTS)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return []
        raise
