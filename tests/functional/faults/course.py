"""One campaign, from the founding of a ledger to the verdict."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from tests.functional.faults import (
    ending,
    fire,
    nursery,
    past,
    trouble,
    verdict,
)
from tests.functional.faults.history import Operation
from tests.functional.faults.nursery import Settings
from tests.functional.lab import campaign
from tests.functional.servers.backends import Etcd, Redis

WHOLE = 20_000
PART = 800
# What fails is over soon, and a client waits for it: few ask in vain.
ANSWERED = 0.9


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of ledger has of its own.

    :param every_s: how long it is from fault to fault.
    :param slower: of so many operations, one is done.
    :param after: the generations that may follow one.
    """

    every_s: float = 0.5
    slower: int = 1
    after: past.After = past.by_one


SQL = Kind()


def settings(
    url: str, folder: Path, lock_urls: tuple[str, ...], kind: Kind
) -> Settings:
    wanted = WHOLE if campaign.is_whole() else PART
    steps = -(-wanted // kind.slower // fire.CLIENTS)
    return Settings(url, str(folder), campaign.seed(), steps, lock_urls)


def violations(
    ledger: LedgerDriver,
    begun: list[Operation],
    folder: Path,
    after: past.After,
) -> list[str]:
    """Everything that should not be."""
    told = [*begun, *nursery.told(folder)]
    return [
        *verdict.violations(told, ending.read(ledger), after),
        *ending.disagreements(ledger),
        *ending.stranded(ledger),
    ]


def report(name: str, totals: fire.Totals, found: list[str]) -> None:
    """Tell what was done, and fail on what should not be."""
    print(f"\n{name}, seed {campaign.seed()}: {totals};", end=" ")
    print(f"violations: {len(found)}")
    assert found == [], "\n".join(found[:20])
    # A ledger that never answers breaks no rule.
    assert totals.answered > ANSWERED


CLIENT_FAULTS: dict[str, fire.Fault] = {
    "client killed": fire.kill_client,
    "client paused": fire.pause_client,
}


def campaigned(
    name: str,
    url: str,
    direct: str,
    folder: Path,
    faults: dict[str, fire.Fault],
    locks: tuple[Etcd, Redis],
    kind: Kind = SQL,
) -> None:
    """Found a ledger, have the clients at it, and judge what they tell.

    :param direct: the URL by which nothing fails.
    """
    ledger = nursery.ledger(direct)
    begun = ending.found(ledger)
    totals = fire.burn(
        settings(url, folder, tuple(map(trouble.lock_url, locks)), kind),
        CLIENT_FAULTS | faults | trouble.lock_faults(*locks),
        every_s=kind.every_s,
        most_s=3600,
    )
    found = violations(ledger, begun, folder, kind.after)
    ledger.close()
    report(name, totals, found)
