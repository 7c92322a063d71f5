"""Who runs this process: the person's account, also behind sudo."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

from gpu_passthrough_plugin.model.event import MAX_UID, Actor

# Set once when somebody logs in, and inherited; only a process with
# CAP_AUDIT_CONTROL can change it.  Source: proc_pid_loginuid(5).
_LOGIN_UID = "/proc/self/loginuid"
# Of a service that nobody logged in for.
_UNSET = MAX_UID
# What each sets to the user ID of its caller.  Source: sudo(8), pkexec(1).
_CALLERS = ("SUDO_UID", "PKEXEC_UID")


def current(command: str, host: str) -> Actor:
    """Return who runs this process.

    :param command: its words, without values.
    :param host: this host's name in the ledger.
    """
    uid = person(os.getuid(), _login_uid(), os.environ)
    return Actor(command, host, account_name(uid, os.environ), uid)


def person(uid: int, login_uid: str, environ: Mapping[str, str]) -> int:
    """Return the user ID of the person behind a process.

    The kernel's login user ID comes first, then what sudo tells root.

    :param uid: the real user ID of the process.
    :param login_uid: the text of its login user ID; empty if not known.
    """
    # Only what became root was told by sudo; anybody can set a variable.
    callers = [environ.get(name, "") for name in _CALLERS] if uid == 0 else []
    for text in (login_uid, *callers):
        if text.isascii() and text.isdecimal() and len(text) < 11:
            number = int(text)
            if number < _UNSET:
                return number
    return uid


def account_name(uid: int, environ: Mapping[str, str]) -> str:
    """Return the name of an account; empty if it has none."""
    # No directory service is asked for root's, which libvirt's hook needs.
    if uid == 0:
        return "root"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        is_sudo = environ.get("SUDO_UID") == str(uid)
        return environ.get("SUDO_USER", "") if is_sudo else ""


def _login_uid() -> str:
    try:
        with open(_LOGIN_UID, encoding="ascii") as file:
            return file.read(32).strip()
    except (OSError, ValueError):
        return ""
