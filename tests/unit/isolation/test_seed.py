"""The host that the project began with, read and judged whole."""

from __future__ import annotations

from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from tests.trees.seed import seed
from tests.unit.isolation.values import GPUS, rules


def test_three_cards_are_assignable_and_the_console_is_kept() -> None:
    found = {
        g.number: g for g in host_snapshot.read(seed().tree(), GPUS).groups()
    }
    fit = {n: g for n, g in found.items() if g.verdict.is_assignable}
    assert {
        number: [str(m.address)[5:] for m in group.endpoints]
        for number, group in fit.items()
    } == {
        18: ["06:00.0", "06:00.1"],
        38: ["82:00.0", "82:00.1"],
        39: ["83:00.0", "83:00.1"],
    }
    assert all(group.verdict.notes == () for group in fit.values())
    assert rules(found[19]) == ["bmc-display"]
    assert all(
        rules(group)[0] == "no-primary"
        for number, group in found.items()
        if number not in {18, 19, 38, 39}
    )


def test_only_groups_with_a_primary_where_no_more_is_wanted() -> None:
    found = host_snapshot.read(seed().tree(), GPUS, Scope.PRIMARIES).groups()
    assert [group.number for group in found] == [18, 19, 38, 39]
