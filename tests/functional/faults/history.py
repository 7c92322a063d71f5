"""What clients of a ledger asked it, when, and what they were told: pure.

A client writes one line of JSON when it asks and one when it is answered,
so that one that is killed in between leaves a question open.  An open
question, like one that was answered with an error, may have been carried
out or not, and at any later time.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gpu_passthrough_plugin.model.unit import State, UnitRecord

NEVER_NS = 1 << 62
"""When what was never answered ended."""


class Act(enum.StrEnum):
    """What a client asks for.

    ``look``: at some units; ``read``: at all of a host or a consumer.
    """

    CLAIM = "claim"
    MOVE = "move"
    PUBLISH = "publish"
    CORDON = "cordon"
    UNCORDON = "uncordon"
    LOOK = "look"
    READ = "read"


class Outcome(enum.StrEnum):
    """What came of it; ``broken``: an error that no ledger may raise."""

    OK = "ok"
    NOWHERE = "no valid host"
    REFUSED = "refused"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"
    BROKEN = "broken"


class Sight(NamedTuple):
    """A unit as a client was shown it."""

    unit: str
    generation: int
    state: State
    consumer: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """A question and its answer.

    :param name: the client's number, and the operation's.
    :param begun_ns: by the machine's one monotonic clock, as the end.
    :param consumer: for whom a claim is.
    :param request: what it asks for.
    :param before: the record that a move was decided on.
    :param state: where it moves it.
    :param host: whose units are published, or which is cordoned.
    :param shown: their names and IOMMU groups.
    :param sights: the units in the answer, which is one instant's.
    """

    name: str
    act: Act
    begun_ns: int
    ended_ns: int = NEVER_NS
    outcome: Outcome = Outcome.UNKNOWN
    text: str = ""
    consumer: str | None = None
    request: str = ""
    before: Sight | None = None
    state: State | None = None
    host: str = ""
    shown: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sights: tuple[Sight, ...] = ()

    @property
    def count(self) -> int:
        """How many units a claim asks for."""
        items = self.request.split(",") if self.request else ()
        return sum(int(item.rpartition(":")[2]) for item in items)

    @property
    def may_have_happened(self) -> bool:
        """Whether it was, or may have been, carried out, if only in part.

        In Placement no request covers a host: a publisher that others
        overtook at each attempt may have removed or changed units before,
        and the next one completes it.
        """
        is_partial = (
            self.act is Act.PUBLISH and self.outcome is Outcome.CONFLICT
        )
        return is_partial or self.outcome in (Outcome.OK, Outcome.UNKNOWN)

    @property
    def ends(self) -> tuple[str, str] | None:
        """The unit and the consumer whose hold it would end, if any."""
        if self.before is None or self.before.consumer is None:
            return None
        if self.state not in (State.FREE, State.QUARANTINED):
            return None
        return self.before.unit, self.before.consumer


def sight(record: UnitRecord) -> Sight:
    """A record of the ledger's, in as few words as the rules need."""
    return Sight(
        str(record.unit.key),
        record.generation,
        record.state,
        record.consumer,
    )


def asked(operation: Operation) -> str:
    """The line that a client writes before it asks."""
    line: dict[str, object] = {
        "name": operation.name,
        "act": operation.act,
        "at": operation.begun_ns,
    }
    optional = {
        "consumer": operation.consumer,
        "request": operation.request,
        "before": operation.before,
        "state": operation.state,
        "host": operation.host,
        "shown": operation.shown,
    }
    line |= {name: value for name, value in optional.items() if value}
    return json.dumps(line)


def answered(operation: Operation) -> str:
    """The line that a client writes when it was told."""
    line: dict[str, object] = {
        "of": operation.name,
        "at": operation.ended_ns,
        "outcome": operation.outcome,
        "sights": operation.sights,
    }
    if operation.text:
        line["text"] = operation.text
    return json.dumps(line)


def operations(lines: Iterable[str]) -> Iterator[Operation]:
    """What one client's lines tell, in the order in which it asked.

    A last line that was cut off by the client's death was never written.
    """
    found: dict[str, Operation] = {}
    for line in lines:
        if not line.endswith("\n"):
            break
        values = json.loads(line)
        if "act" in values:
            found[values["name"]] = _question(values)
        else:
            name = values["of"]
            found[name] = dataclasses.replace(
                found[name],
                ended_ns=values["at"],
                outcome=Outcome(values["outcome"]),
                text=values.get("text", ""),
                sights=tuple(map(_sight, values["sights"])),
            )
    yield from found.values()


def _question(values: dict[str, Any]) -> Operation:
    before, state = values.get("before"), values.get("state")
    return Operation(
        name=values["name"],
        act=Act(values["act"]),
        begun_ns=values["at"],
        consumer=values.get("consumer"),
        request=values.get("request", ""),
        before=None if before is None else _sight(before),
        state=None if state is None else State(state),
        host=values.get("host", ""),
        shown=values.get("shown", {}),
    )


def _sight(values: list[Any]) -> Sight:
    unit, generation, state, consumer = values
    return Sight(unit, generation, State(state), consumer)
