"""What root may do for the rest of a process: capabilities by name."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Set as AbstractSet
from typing import NoReturn

# Source: capabilities(7).
CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SYS_MODULE = 16
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
CAP_SYSLOG = 34

FILES = frozenset({CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH})
"""To read a file in another user's folder and to write one there.

SQLite gives its write-ahead log the ledger's owner: without CAP_CHOWN it
would be root's, and the ledger's owner could not write any more.
"""

HOST = FILES | {CAP_SYS_ADMIN, CAP_SYSLOG}
"""To read a host: config space beyond its first bytes, and the kernel log."""

UNITS = HOST | {CAP_SYS_MODULE, CAP_SYS_PTRACE}
"""To hand units out and take them back, too.

vfio-pci may have to be loaded, and /proc shows only with CAP_SYS_PTRACE which
device files other processes have open.  Functions are bound and reset through
files of root's.
"""

# Source: linux/capability.h, linux/prctl.h.
_VERSION_3 = 0x20080522
_WORDS = 2
_WORD_BITS = 32
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def keep(capabilities: AbstractSet[int]) -> None:
    """Give up all other capabilities, and never gain any by executing.

    Of this thread and those that it starts from now on; a process that has
    fewer keeps what it has.

    :raises OSError: when the kernel refuses it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = _Header(_VERSION_3, 0)
    sets = (_Sets * _WORDS)()
    if libc.capget(ctypes.byref(header), sets):
        _fail()
    for number, word in enumerate(sets):
        mask = sum(
            1 << capability % _WORD_BITS
            for capability in capabilities
            if capability // _WORD_BITS == number
        )
        word.effective &= mask
        word.permitted &= mask
        word.inheritable = 0
    zero = ctypes.c_ulong(0)
    one = ctypes.c_ulong(1)
    clear = ctypes.c_ulong(_PR_CAP_AMBIENT_CLEAR_ALL)
    if (
        libc.prctl(_PR_SET_NO_NEW_PRIVS, one, zero, zero, zero)
        or libc.prctl(_PR_CAP_AMBIENT, clear, zero, zero, zero)
        or libc.capset(ctypes.byref(header), sets)
    ):
        _fail()


def _fail() -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
