"""Hosts on which everything happens in a random order, and one pass after it.

What is drawn, the seed draws again.  Commands, the libvirt hook and the agent
are killed at random acts, refused one, or lose the ledger or the disk in the
middle; guests end unnoticed, the host loses its power, cards die, are
swapped and renumbered, and the ledger is restored from an older copy.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import agent, attach, inventory, release
from gpu_passthrough_plugin.flow.agent import Result, UnitCache
from gpu_passthrough_plugin.flow.boot import Keeping, boot
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.model.unit import State
from tests.functional.acts import Acts, Crash
from tests.functional.faults.host_rules import require_settled, short
from tests.functional.faults.host_world import HostWorld, disk_full
from tests.functional.lab import campaign
from tests.functional.world import guest, wanted
from tests.trees import seed

pytestmark = pytest.mark.campaign

_RUNS = 600
_DRAWN_RUNS = 30
_STEPS = 10
# Acts of the longest command, a release of two units.
_ACTS = 16
_INSTANCES = tuple(
    f"{number:08x}-8d1f-4c8e-9a57-0d6b6e0f4a11" for number in range(1, 5)
)
# No such card is asked for.
_OTHER_IDS = ("10de:13ba", "10de:0fbc")


class Run:
    """One host, and what happens to it.

    :ivar told: the events, for the message of a rule that is broken.
    """

    def __init__(self, world: HostWorld, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.told: list[str] = []
        self.totals: Counter[str] = Counter()
        self._events: tuple[tuple[int, Callable[[], str]], ...] = (
            (6, self._boot),
            (4, self._release),
            (3, self._attach),
            (2, self._detach),
            (3, self._start_defined),
            (3, self._hook_start),
            (4, self._guest_ends),
            (2, self._power_cut),
            (1, self._rebuilt),
            (1, self._card_dies),
            (1, self._ledger_saved),
            (1, self._ledger_restored),
            (2, self._agent_dies),
            (1, self._recovered),
            (1, self._libvirt_silent),
            (1, self._person),
            (1, self._clock_jumps),
        )

    def go(self) -> None:
        for _ in range(_STEPS):
            weights = [weight for weight, _ in self._events]
            names = [event for _, event in self._events]
            (event,) = self.chance.choices(names, weights)
            self.told.append(event())
            self.totals[event.__name__.strip("_")] += 1
            if self.chance.random() < 0.7:
                self._settle()
        self._settle()

    # Events.

    def _boot(self) -> str:
        uuid = self.chance.choice(_INSTANCES)
        request = self.chance.choice(("gpu:1", "gpu:1", "gpu:2"))
        keeping = self.chance.choice((Keeping.TRANSIENT, *Keeping))
        return self._command(
            f"boot {uuid[:8]} {request} {keeping.name.lower()}",
            lambda acts, answers: boot(
                self.world.acting(acts, answers),
                guest(uuid, uuid),
                wanted(request),
                keeping,
            ),
        )

    def _attach(self) -> str:
        """To a domain that somebody has defined."""
        uuid = self.chance.choice(_INSTANCES)
        if not (self.world.running().keys() | self.world.unfinished()) & {
            uuid
        }:
            with contextlib.suppress(errors.Error):
                self.world.define(uuid)
        request = self.chance.choice(("gpu:1", "gpu:2"))
        return self._command(
            f"attach {uuid[:8]} {request}",
            lambda acts, answers: attach.attach(
                self.world.acting(acts, answers), uuid, wanted(request)
            ),
        )

    def _detach(self) -> str:
        uuid = self.chance.choice(_INSTANCES)
        return self._command(
            f"detach {uuid[:8]}",
            lambda acts, answers: attach.detach(
                self.world.acting(acts, answers), uuid
            ),
        )

    def _start_defined(self) -> str:
        uuid = self.chance.choice(_INSTANCES)
        return self._command(
            f"libvirt starts its {uuid[:8]}",
            lambda acts, _answers: self.world.starts_defined(uuid, acts),
        )

    def _release(self) -> str:
        uuid = self.chance.choice(_INSTANCES)
        return self._command(
            f"release {uuid[:8]}",
            lambda acts, answers: release.release(
                self.world.acting(acts, answers), uuid
            ),
        )

    def _recovered(self) -> str:
        def recover(acts: Acts, answers: int | None) -> None:
            with locked_and_recovered(self.world.acting(acts, answers)):
                pass

        return self._command("recover", recover)

    def _agent_dies(self) -> str:
        return self._command(
            "agent",
            lambda acts, answers: agent.run(
                self.world.acting(acts, answers), UnitCache()
            ),
        )

    def _hook_start(self) -> str:
        uuid = self.chance.choice(_INSTANCES)
        card = self.chance.choice(self.world.cards)
        functions = [f for f in self.world.shown() if self._is_of(f, card)]
        if uuid in self.world.running() or self.world.used() & set(functions):
            return "libvirt starts nothing"
        dies = self.chance.random() < 0.2
        return self._command(
            f"libvirt starts {uuid[:8]} with {card.slot}{' and dies' * dies}",
            lambda acts, _answers: self.world.libvirt_starts(
                uuid, functions, acts, dies
            ),
        )

    @staticmethod
    def _is_of(function: object, card: seed.Card) -> bool:
        return str(function).startswith(f"{card.slot}.")

    def _guest_ends(self) -> str:
        running = sorted(self.world.running())
        if not running:
            return "no guest ends"
        uuid = self.chance.choice(running)
        is_told = self.chance.random() < 0.7
        answers = self.chance.choice((None, None, 0, 1, 2, 3))
        self.world.ends(uuid, answers, is_told=is_told)
        told = f"told, {answers} answers" if is_told else "unnoticed"
        return f"guest {uuid[:8]} ends, {told}"

    def _power_cut(self) -> str:
        self.world.loses_power()
        return "power cut"

    def _rebuilt(self) -> str:
        cards = list(seed.CARDS)
        number = self.chance.randrange(3)
        how = self.chance.choice(("as it was", "renumbered", "swapped", "out"))
        if how == "renumbered":
            cards[number] = cards[number]._replace(group=50 + number)
        elif how == "swapped":
            cards[number] = cards[number]._replace(ids=_OTHER_IDS)
        elif how == "out":
            del cards[number]
        self.world.is_rebuilt(cards)
        return f"card {number} {how}"

    def _card_dies(self) -> str:
        function = self.chance.choice(sorted(self.world.shown()))
        self.world.dies(function)
        return f"{function} dies"

    def _ledger_saved(self) -> str:
        self.world.saves_ledger()
        return "ledger saved"

    def _ledger_restored(self) -> str:
        self.world.restores_ledger()
        return "ledger restored"

    def _libvirt_silent(self) -> str:
        agent.run(self.world.silent_libvirt(), UnitCache())
        return "a pass without libvirt"

    def _person(self) -> str:
        """Does what the messages of a quarantine advise."""
        done = []
        for record in self.world.ledger.records(states=(State.QUARANTINED,)):
            key = record.unit.key
            try:
                inventory.clear(self.world.acting(Acts()), key)
                done.append(f"{key} cleared")
            except errors.Error as error:
                done.append(str(error))
        return f"a person: {done}"

    def _clock_jumps(self) -> str:
        by, right = self.chance.choice((-3600, 3600)), time.time
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: right() + by)
            return f"clock {by:+} s, {self._boot()}, {self._agent_dies()}"

    def _command(
        self, name: str, run: Callable[[Acts, int | None], object]
    ) -> str:
        """Run something that acts, perhaps in trouble; return what it said."""
        trouble, acts, answers = self._trouble()
        try:
            run(acts, answers)
            said = "done"
        except Crash as crash:
            said = f"killed at {crash}"
            self.totals["killed"] += 1
        except errors.Error as error:
            said = str(error)
            self.totals["refused or failed"] += 1
        # Another process opens it next.
        self.world.ledger.close()
        return f"{name} ({trouble}): {said}"

    def _trouble(self) -> tuple[str, Acts, int | None]:
        at = self.chance.randint(1, _ACTS)
        match self.chance.randrange(8):
            case 0 | 1 | 2:
                does_it = self.chance.random() < 0.5
                acts = Acts(crash_at=at, does_it=does_it)
                return f"killed at {at}, {does_it}", acts, None
            case 3:
                return f"refused at {at}", Acts(fail_at=at), None
            case 4:
                return "disk full", Acts(before=disk_full(at)), None
            case 5:
                answers = self.chance.randrange(2 * _ACTS)
                return f"ledger gone after {answers}", Acts(), answers
        return "no trouble", Acts(), None

    # What must hold.

    def _settle(self) -> None:
        """One pass, and the rules."""
        world = self.world
        untouched = set(world.running()) - world.unfinished()
        outcomes = world.passed()
        for outcome in outcomes:
            self.totals[f"{outcome.finding.case}: {outcome.result}"] += 1
        self.told.append(f"pass: {[short(o) for o in outcomes]}")
        assert untouched <= set(world.running()), "a guest was stopped"
        assert not world.unclean_starts, world.unclean_starts
        failed = {o.finding for o in outcomes if o.result is Result.FAILED}
        require_settled(world, failed)


@contextlib.contextmanager
def _host() -> Iterator[HostWorld]:
    with tempfile.TemporaryDirectory(prefix="gpt-faults.") as folder:
        world = HostWorld(Path(folder))
        try:
            yield world
        finally:
            world.close()


def test_everything_is_explained_within_one_pass() -> None:
    totals: Counter[str] = Counter()
    broken = []
    runs = _RUNS if campaign.is_whole() else _DRAWN_RUNS
    for number in range(runs):
        name = f"{campaign.seed()} {number}"
        with _host() as world:
            run = Run(world, random.Random(name))  # noqa: S311 - no secret
            try:
                run.go()
            except AssertionError as error:
                told = "\n  ".join(run.told)
                broken.append(f"run {name}: {error}\n  {told}")
        totals += run.totals
    print(f"\n{runs} hosts, seed {campaign.seed()}:")
    for name, count in sorted(totals.items()):
        print(f"  {name}: {count}")
    assert not broken, f"{len(broken)} of {runs}:\n" + "\n".join(broken[:5])
