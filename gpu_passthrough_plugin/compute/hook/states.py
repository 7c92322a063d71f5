"""Whose a guest's units are, and what is to be done about them: pure."""

from __future__ import annotations

from gpu_passthrough_plugin.model.guard import ENDING, HOOK, Held, Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# As ``model.unit.State`` has them.
FREE = "free"
CLAIMED = "claimed"
PREPARING = "preparing"
ACTIVE = "active"
QUARANTINED = "quarantined"


class States:
    """Goes through a guest's units, and sorts them by what is to be done."""

    def __init__(self, uuid: str, ledger: Ledger, is_in_journal: bool) -> None:
        self.refusals: list[str] = []
        self.waits_for: list[str] = []
        self.takes: list[str] = []
        self.moves: list[str] = []
        self._uuid = uuid
        self._ledger = ledger
        self._is_in_journal = is_in_journal

    def look(self, unit: Held) -> None:
        if unit.state == QUARANTINED:
            self.refusals.append(
                f"unit {unit.key} is quarantined ({unit.reason}); look at it,"
                f" then run 'gpu-passthrough unit clear {unit.key}'"
            )
        elif unit.state in ENDING:
            # Whoever had it: Nova hands a card on as soon as its guest is
            # gone.
            self.waits_for.append(unit.key)
        elif unit.state == FREE:
            self._look_at_free(unit)
        elif unit.consumer != self._uuid:
            self.refusals.append(
                f"unit {unit.key} is {unit.state} for {unit.consumer}; see"
                " 'gpu-passthrough allocation list'"
            )
        elif unit.state == PREPARING and not self._is_in_journal:
            self.refusals.append(
                f"unit {unit.key} was left half prepared for it; run"
                f" 'gpu-passthrough instance release {self._uuid}'"
            )
        elif unit.state == CLAIMED:
            # A boot has gone further than that before it starts the guest:
            # it is the release of the last one that is not over yet.
            into = self.waits_for if self._is_in_journal else self.moves
            into.append(unit.key)

    def _look_at_free(self, unit: Held) -> None:
        if self._is_in_journal:
            self.waits_for.append(unit.key)
        elif self._ledger.disabled is not None:
            self.refusals.append(
                f"unit {unit.key} is not offered: this host is disabled"
                f" ({self._ledger.disabled}); see 'gpu-passthrough inventory"
                " hosts'"
            )
        else:
            self.takes.append(unit.key)

    def look_at_the_rest(self, touched: dict[str, Held]) -> None:
        """Nobody's claim grows: it holds what it was made for."""
        if not self.takes or not self._ledger.has:
            return
        ending = [a for _, a, state in self._ledger.has if state in ENDING]
        if ending:
            self.waits_for += ending
            return
        has = ", ".join(f"{h}/{a}" for h, a, _ in self._ledger.has)
        asked = self._ledger.request
        how = "since before" if asked == HOOK else f"by its claim of {asked}"
        self.refusals.append(
            f"it holds {has} {how}, and takes {listed(self.takes)} as well;"
            f" run 'gpu-passthrough instance release {self._uuid}' for the"
            " former, or take the latter out"
        )


def listed(addresses: Iterable[str]) -> str:
    """Addresses in order, by commas."""
    return ", ".join(sorted(addresses))
