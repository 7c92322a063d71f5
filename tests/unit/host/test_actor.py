"""Whose act it is: the login that the kernel knows, else sudo's caller."""

from __future__ import annotations

import os

import pytest

from gpu_passthrough_plugin.host import actor

SUDO = {"SUDO_UID": "1000", "SUDO_USER": "alice"}
UNSET = str(2**32 - 1)


@pytest.mark.parametrize(
    ("uid", "login_uid", "environ", "expected"),
    [
        # A login, also behind su and sudo.
        (0, "1001", SUDO, 1001),
        (1001, "1001", {}, 1001),
        (0, "0", SUDO, 0),
        # A container, or a service: no login.
        (0, UNSET, SUDO, 1000),
        (0, "", SUDO, 1000),
        (0, UNSET, {"PKEXEC_UID": "1002"}, 1002),
        (0, UNSET, {}, 0),
        (1003, "", {}, 1003),
        # Not root: anybody can set a variable.
        (1003, UNSET, SUDO, 1003),
        # What no kernel and no sudo writes.
        (0, "x", {"SUDO_UID": "-1"}, 0),
        (0, "٣", {"SUDO_UID": "9" * 30}, 0),
        (0, "", {"SUDO_UID": UNSET}, 0),
        (0, "", {"SUDO_UID": ""}, 0),
    ],
)
def test_the_person(
    uid: int, login_uid: str, environ: dict[str, str], expected: int
) -> None:
    assert actor.person(uid, login_uid, environ) == expected


def test_the_name_of_an_account() -> None:
    assert actor.account_name(0, {}) == "root"
    assert actor.account_name(0, SUDO) == "root"
    nobody = 4_000_000_000
    assert actor.account_name(nobody, {}) == ""
    assert actor.account_name(nobody, SUDO) == ""
    known = {"SUDO_UID": str(nobody), "SUDO_USER": "alice"}
    assert actor.account_name(nobody, known) == "alice"


def test_who_runs_this_test() -> None:
    current = actor.current("unit clear", "h")
    assert (current.command, current.host) == ("unit clear", "h")
    assert current.uid is not None
    if os.getuid():
        assert current.uid == os.getuid()
