"""Ledgers that a process keeps, with their connections."""

from __future__ import annotations

from collections.abc import Callable

from gpu_passthrough_plugin.allocation.driver import LedgerDriver


class LedgerCache:
    """Ledgers that a process keeps from one call of the hook to the next."""

    def __init__(self) -> None:
        self._ledgers: dict[str, tuple[object, LedgerDriver]] = {}

    def ledger(
        self,
        command: str,
        settings: object,
        make: Callable[[], LedgerDriver],
    ) -> LedgerDriver:
        """Return the kept ledger; another one for another configuration.

        :param command: in whose events it is.
        :param settings: compared with those that it was made with.
        """
        kept = self._ledgers.get(command)
        if kept is not None and kept[0] == settings:
            # What it knows is of before.
            kept[1].renew()
            return kept[1]
        if kept is not None:
            kept[1].close()
        made = make()
        self._ledgers[command] = (settings, made)
        return made

    def close(self) -> None:
        """Close the connections of all of them."""
        for _, ledger in self._ledgers.values():
            ledger.close()
