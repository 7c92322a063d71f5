"""Asking a ledger, and writing down what was asked and answered."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Collection

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.unit import State, UnitRecord
from tests.functional.faults import history
from tests.functional.faults.history import Act, Operation, Outcome

Answer = tuple[Outcome, list[UnitRecord]]


class Asking:
    """What one client asks, by the numbers of its steps.

    :param write: takes a line of its history.
    """

    def __init__(self, client: int, write: Callable[[str], None]) -> None:
        self._client = client
        self._write = write
        self._at = 0
        self._asked = 0

    def begin(self, step: int) -> None:
        """What is asked from now on belongs to this step."""
        self._at, self._asked = step, 0

    def question(
        self,
        act: Act,
        *,
        consumer: str | None = None,
        request: str = "",
        before: history.Sight | None = None,
        state: State | None = None,
        host: str = "",
        shown: dict[str, int] | None = None,
    ) -> Operation:
        self._asked += 1
        return Operation(
            name=f"{self._client}.{self._at}.{self._asked}",
            act=act,
            begun_ns=0,
            consumer=consumer,
            request=request,
            before=before,
            state=state,
            host=host,
            shown=shown or {},
        )

    def ask(
        self, asked: Operation, work: Callable[[], Collection[UnitRecord]]
    ) -> tuple[Outcome, list[UnitRecord]]:
        """What the ledger answered, written down before and after."""
        begun = dataclasses.replace(asked, begun_ns=time.monotonic_ns())
        self._write(history.asked(begun))
        records: list[UnitRecord] = []
        outcome, text = Outcome.OK, ""
        try:
            records = list(work())
        except Exception as error:  # noqa: BLE001 - the history tells it
            outcome, text = _outcome(error), f"{type(error).__name__}: {error}"
            if outcome is Outcome.BROKEN:
                text = "".join(traceback.format_exception(error))
        self._write(
            history.answered(
                dataclasses.replace(
                    begun,
                    ended_ns=time.monotonic_ns(),
                    outcome=outcome,
                    text=text,
                    sights=tuple(map(history.sight, records)),
                )
            )
        )
        return outcome, records


def _outcome(error: Exception) -> Outcome:
    for kind, outcome in (
        (errors.NoValidHost, Outcome.NOWHERE),
        (errors.Conflict, Outcome.CONFLICT),
        (errors.Refused, Outcome.REFUSED),
        (errors.Unavailable, Outcome.UNKNOWN),
    ):
        if isinstance(error, kind):
            return outcome
    return Outcome.BROKEN
