"""A command that can write to one folder only, and tells what it tried."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# What the kernel refuses outside the folder.  Source: Linux,
# include/uapi/linux/landlock.h and Documentation/userspace-api/landlock.rst.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH, _VERSION = 1, 1
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_MAKE_AND_REMOVE = 0b1_1111_1111_0000
_PR_SET_NO_NEW_PRIVS = 38

# Each audit event of Python's that changes a file, and how many of its first
# arguments are paths.  What the C library does alone is Landlock's to refuse.
_CHANGES = {
    "os.chmod": 1, "os.chown": 1, "os.link": 2, "os.mkdir": 1,
    "os.remove": 1, "os.rename": 2, "os.rmdir": 1, "os.symlink": 2,
    "os.truncate": 1, "os.utime": 1, "sqlite3.connect": 1,
}  # fmt: skip
_CODE = """
import os, sys
from tests.functional.confined import report
report(sys.argv.pop(1), sys.argv.pop(1))
from gpu_passthrough_plugin.cli.main import main
sys.exit(main())
"""


class Confined(NamedTuple):
    """What a command answered, and each path outside that it changed."""

    status: int
    out: str
    err: str
    outside: list[str]


def run(folder: Path, log: Path, *argv: str) -> Confined:
    """Run one that may write to ``folder`` and to ``log``."""
    log.write_text("")
    # stevedore keeps a list of entry points there, unless it finds this file.
    cache = log.with_name("cache")
    (cache / "python-entrypoints").mkdir(parents=True, exist_ok=True)
    (cache / "python-entrypoints/.disable").touch()
    done = subprocess.run(
        (sys.executable, "-c", _CODE, str(folder), str(log), *argv),
        capture_output=True,
        text=True,
        # Compiled modules would be written elsewhere.
        env={
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_CACHE_HOME": str(cache),
        },
        preexec_fn=_landlock(folder, log),
    )
    return Confined(
        done.returncode,
        done.stdout,
        done.stderr,
        log.read_text().splitlines(),
    )


def report(folder: str, log: str) -> None:
    """Write each change outside of a folder to a log, from here on."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        count = _CHANGES.get(event, 0)
        if event == "open":
            flags = arguments[2]
            writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
            count = int(isinstance(flags, int) and bool(flags & writing))
        for argument in arguments[:count]:
            if not isinstance(argument, str | bytes | os.PathLike):
                continue
            text = os.fsdecode(argument)
            # Relative to an open folder that Python does not tell.
            if not os.path.isabs(text):
                continue
            path = os.path.realpath(text)
            if path != "/dev/null" and not f"{path}/".startswith(f"{folder}/"):
                os.write(handle, f"{event} {path}\n".encode())

    sys.addaudithook(hook)


def has_landlock() -> bool:
    return _version() > 0


def _version() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(_CREATE_RULESET, None, 0, _VERSION))


def _landlock(folder: Path, log: Path) -> Callable[[], None] | None:
    """Return what keeps a new process from writing elsewhere."""
    if not has_landlock():
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    rights = _MAKE_AND_REMOVE | _WRITE_FILE
    on_file = _WRITE_FILE
    if _version() >= 3:
        rights |= _TRUNCATE
        on_file |= _TRUNCATE

    def restrict() -> None:
        attributes = struct.pack("=Q", rights)
        ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
        for path, allowed in (
            (folder, rights), (log, on_file), ("/dev/null", on_file)
        ):  # fmt: skip
            opened = os.open(path, os.O_PATH)
            rule = struct.pack("=Qi", allowed, opened)
            libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
            os.close(opened)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.syscall(_RESTRICT_SELF, ruleset, 0):
            os._exit(99)
        os.close(ruleset)

    return restrict
