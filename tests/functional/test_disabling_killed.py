"""Disabling is killed before any of its acts: the host boots on."""

from __future__ import annotations

import pytest

from tests.functional.lab import campaign
from tests.functional.lab.enabling import differences, files, run
from tests.functional.lab.host import EmulatedHost
from tests.functional.lab.interrupting import (
    DISABLE,
    ENABLE,
    Boots,
    acts,
    inside,
    put_right,
)

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab

# A point takes one and a half minutes.
POINTS = 2


@pytest.mark.campaign
@pytest.mark.rotating
@pytest.mark.parametrize("shard", campaign.shards())
def test_disabling_killed_before_any_act(
    off_host: EmulatedHost, shard: str
) -> None:
    before, boots = files(off_host), Boots(off_host)
    run(off_host, *ENABLE)
    done = acts(off_host, DISABLE)
    assert {"restore", "remove", "move"} <= set(done)
    assert differences(before, files(off_host)) == []
    for number in campaign.of_shard(shard, range(len(done)), POINTS):
        run(off_host, *ENABLE)
        gave = inside(off_host, argv=list(DISABLE), kill_at=number)
        where = f"before act {number} of {len(done)}, {done[number]}"
        assert gave["status"] == -9, where
        boots.require(where)
        put_right(off_host, before, enables=number % 2 == 0)
