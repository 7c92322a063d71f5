"""Which hosts are marked as lost, and when they are offered again."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

import pytest

from gpu_passthrough_plugin.agent.finding import Act, Case, Finding
from gpu_passthrough_plugin.agent.host_watch import (
    HostWatch,
    Judgement,
    LostHost,
    Moment,
    judge,
)
from gpu_passthrough_plugin.agent.reconcile import reconcile
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.unit import State
from tests.unit.agent.build import (
    ADA,
    BOB,
    ONE,
    SILENT,
    TWO,
    guest,
    observation,
    record,
)

LOST_AFTER_S = 120.0
DAY_S = 86_400.0
MARK = "lost: its agent has not answered since 2026-11-30T16:20:00.000Z"
IN_STEP = observation(record(ONE), record(TWO))
FIVE = ("a", "b", "c", "d", "e")


def host(
    name: str, reason: str | None = None, *, is_watched: bool = True
) -> HostRecord:
    is_cordoned = reason is not None
    return HostRecord(
        name, 1, is_cordoned, reason or "", frozenset(), False, is_watched
    )


def looks(
    hosts: Iterable[HostRecord],
    *members: tuple[float, Collection[str]],
    watch: HostWatch | None = None,
) -> Judgement:
    """The last of several judgements.

    :param members: who answers at which second.
    """
    judgement = Judgement(watch or HostWatch())
    for second, names in members:
        now = Moment(second, DAY_S + second)
        judgement = judge(
            judgement.watch, tuple(hosts), names, now, LOST_AFTER_S
        )
    return judgement


def every(*names: str) -> tuple[HostRecord, ...]:
    return tuple(host(name) for name in names)


def test_a_host_that_is_away_for_long_enough_is_lost() -> None:
    hosts = every("a", "b", "c")
    quiet = (0, "abc"), (30, "ab"), (60, "ab"), (90, "ab"), (120, "ab")
    assert looks(hosts, *quiet).lost == ()
    late = looks(hosts, *quiet, (150, "ab"))
    assert late.lost == (LostHost("c", DAY_S + 30),)


def test_one_that_came_back_is_away_anew() -> None:
    hosts = every("a", "b", "c")
    back = (0, "ab"), (60, "abc"), (90, "ab"), (180, "ab")
    assert looks(hosts, *back).lost == ()
    assert looks(hosts, *back, (210, "ab")).lost[0].since_s == DAY_S + 90


def test_a_new_leader_waits_as_long_as_for_any_host() -> None:
    hosts = every("a", "b")
    assert looks(hosts, (1_000, "a")).lost == ()
    assert looks(hosts, (1_000, "a"), (1_119, "a")).lost == ()
    assert looks(hosts, (1_000, "a"), (1_119, "a"), (1_120, "a")).lost


def test_a_leader_that_was_stalled_waits_again() -> None:
    hosts = every("a", "b")
    stalled = looks(hosts, (0, "ab"), (30, "a"), (600, "a"))
    assert stalled.lost == ()
    assert looks(hosts, (690, "a"), watch=stalled.watch).lost == ()
    almost = looks(hosts, (690, "a"), (720, "a"), watch=stalled.watch)
    assert [lost.name for lost in almost.lost] == ["b"]


def test_hosts_without_an_agent_are_never_lost() -> None:
    hosts = (*every("a"), host("b", is_watched=False))
    assert looks(hosts, (0, "a"), (100, "a"), (200, "a")).lost == ()


def test_a_host_that_is_cordoned_is_not_marked() -> None:
    for reason in ("new fans", "lost: no answer", "fenced: by ann", ""):
        hosts = (*every("a"), host("b", reason))
        assert looks(hosts, (0, "a"), (100, "a"), (200, "a")).lost == ()


def test_nobody_is_marked_where_most_are_away() -> None:
    away = (0, FIVE), (10, "ab"), (100, "ab"), (130, "ab")
    judgement = looks(every(*FIVE), *away)
    assert (judgement.lost, judgement.withheld) == ((), ("c", "d", "e"))
    # It counts who is away now, and not since when.
    first = (0, "abcd"), (100, "ab"), (120, "ab")
    judgement = looks(every(*FIVE), *first)
    assert (judgement.lost, judgement.withheld) == ((), ("c", "d", "e"))
    # As soon as enough are back, the others are lost.
    judgement = looks(every(*FIVE), *first, (130, "abc"))
    assert [lost.name for lost in judgement.lost] == ["e"]


def test_half_of_the_hosts_may_be_lost() -> None:
    away = (0, "abcd"), (10, "ab"), (100, "ab"), (130, "ab")
    judgement = looks(every(*"abcd"), *away)
    assert [lost.name for lost in judgement.lost] == ["c", "d"]
    # Of two hosts one is half.
    judgement = looks(every("a", "b"), (0, "a"), (100, "a"), (130, "a"))
    assert [lost.name for lost in judgement.lost] == ["b"]


def test_marked_hosts_do_not_count_among_the_others() -> None:
    """Hosts that are in repair for weeks must not hide one that dies."""
    repaired = (host("c", "lost: x"), host("d", "new fans"))
    hosts = (*every("a", "b", "e"), *repaired)
    judgement = looks(hosts, (0, "ab"), (100, "ab"), (130, "ab"))
    assert [lost.name for lost in judgement.lost] == ["e"]


def test_a_fault_that_grows_powers_nobody_off() -> None:
    """Each wave is less than half of those that are left."""
    lost = [host(name, "lost: x") for name in "fgh"]
    hosts = (*every(*"abcde"), *lost)
    wave = (0, "abcde"), (10, "abc"), (100, "abc"), (130, "abc")
    judgement = looks(hosts, *wave)
    assert [lost.name for lost in judgement.lost] == ["d", "e"]
    assert judgement.is_most_away
    # Those that answer again, or are off, or an operator's, are not away.
    back = tuple((second, (*names, "f", "g")) for second, names in wave)
    assert not looks(hosts, *back).is_most_away
    others = [host(name, "fenced: x") for name in "fg"], [host("h", "fans")]
    hosts = (*every(*"abcde"), *others[0], *others[1])
    assert not looks(hosts, *wave).is_most_away


def test_nothing_is_said_before_it_is_time() -> None:
    judgement = looks(every(*FIVE), (0, "a"), (60, "a"))
    assert judgement.withheld == ()


def test_whose_agent_never_joined_since_is_lost_as_well() -> None:
    hosts = every("a", "b", "c")
    judgement = looks(hosts, (0, "ab"), (60, "ab"), (120, "ab"))
    assert judgement.lost == (LostHost("c", DAY_S),)


def mark(
    observed: object = IN_STEP, *, is_away: bool = False, by: str = MARK
) -> Finding:
    """What is found of the mark itself."""
    marked = dataclasses.replace(
        observed,  # type: ignore[type-var]
        marked=by,
        is_away=is_away,
    )
    *_, finding = reconcile(marked)  # type: ignore[arg-type]
    assert (finding.case, finding.subject) == (Case.HOST_LOST, "h")
    assert by in finding.detail
    return finding


@pytest.mark.parametrize("by", [MARK, "fenced: by ann"])
def test_a_host_in_step_is_offered_again(by: str) -> None:
    assert mark(by=by).act is Act.UNCORDON


def test_a_host_that_is_not_marked_is_in_step() -> None:
    assert reconcile(IN_STEP) == ()


def test_what_is_to_be_done_is_done_first() -> None:
    """Also what failed: it is found again."""
    finding = mark(observation(record(ONE)))
    assert (finding.act, finding.remedy) == (Act.NONE, "")


def test_what_waits_for_a_person_does_not_keep_a_host() -> None:
    quarantined = record(ONE, State.QUARANTINED, reason="reads ff")
    finding = mark(observation(quarantined, record(TWO)))
    assert finding.act is Act.UNCORDON


def test_a_guest_with_a_unit_of_another_keeps_the_host_cordoned() -> None:
    observed = observation(
        record(ONE, State.ACTIVE, BOB), record(TWO), guests=(guest(ADA, ONE),)
    )
    finding = mark(observed)
    assert finding.waits_for_person
    assert str(Case.GUEST_CONFLICT) in finding.remedy


def test_a_host_whose_libvirt_does_not_answer_stays_cordoned() -> None:
    finding = mark(observation(record(ONE), record(TWO), guests=SILENT))
    assert finding.waits_for_person
    assert str(Case.LIBVIRT) in finding.remedy


def test_an_agent_that_is_not_in_the_group_lifts_nothing() -> None:
    """The leader would mark it again."""
    finding = mark(is_away=True)
    assert finding.waits_for_person
    assert "inventory uncordon h" in finding.remedy
