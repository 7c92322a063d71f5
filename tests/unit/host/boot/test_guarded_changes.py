"""What is guarded by the lock is not done without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.boot.journal import GuardedChanges
from tests.unit.host.boot.test_journal import HISTORY


def lost() -> None:
    raise errors.Unavailable("the lock of h was lost")


def test_no_act_of_enabling_is_noted_without_the_lock(tmp_path: Path) -> None:
    """What is not noted is not done."""
    folder = tmp_path / "enablement"
    with pytest.raises(errors.Unavailable, match="was lost"):
        GuardedChanges(str(folder), lost).write(HISTORY)
    assert not folder.exists()
    changes = GuardedChanges(str(folder), lambda: None)
    changes.write(HISTORY)
    assert GuardedChanges(str(folder), lost).read() == HISTORY
