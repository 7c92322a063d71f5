"""Commands that change one host's boot at once, whatever its lock grants.

Their host's lock is left out, as a backend does that grants it to both.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from tests.functional.bootable import bootable
from tests.functional.test_enable_flow import Debian, debian

__all__ = ["debian"]

ROUNDS = 6
OK, CONFLICT, FAILED = 0, 3, 4


def at_once(*acts: Callable[[], object]) -> list[int]:
    """Return the exit status of each act, in a process of its own."""
    start = time.monotonic() + 0.02
    children = []
    for act in acts:
        child = os.fork()
        if child == 0:
            status = FAILED
            try:
                time.sleep(max(0, start - time.monotonic()))
                act()
                status = OK
            except errors.Conflict:
                status = CONFLICT
            except BaseException:  # noqa: BLE001 - shown, then the end
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    return [os.waitstatus_to_exitcode(status) for status in statuses]


def test_enabled_twice_and_disabled(debian: Debian) -> None:
    before = debian.files()
    for _ in range(ROUNDS):
        assert at_once(debian.enable, debian.enable) == [OK, OK]
        debian.disable()
        assert debian.files() == before


def test_enabled_while_it_is_disabled(debian: Debian) -> None:
    before = debian.files()
    for _ in range(ROUNDS):
        acts = (debian.enable, debian.disable, debian.disable)
        assert at_once(*acts) == [OK, OK, OK]
        debian.disable()
        assert debian.files() == before


@pytest.mark.parametrize("is_enabled", [False, True])
def test_plans_made_before_the_lock_was_held(
    tmp_path: Path, is_enabled: bool
) -> None:
    """A plan that is no longer right ends as a conflict, at worst."""
    for number in range(ROUNDS):
        host = bootable(tmp_path / str(number))
        before = host.snapshot()
        if is_enabled:
            host.enable()
        act = host.disable if is_enabled else host.enable
        statuses = at_once(act, act)
        assert OK in statuses
        assert set(statuses) <= {OK, CONFLICT}
        host.disable()
        assert host.snapshot() == before
        assert host.is_clean()
