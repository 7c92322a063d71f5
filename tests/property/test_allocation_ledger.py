"""Laws of the ledger, under whatever order of publishing, claims, moves."""

from __future__ import annotations

import dataclasses
import uuid

import hypothesis
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import capacity
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import schema
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.unit import (
    TRANSITIONS,
    DeviceType,
    State,
    Unit,
    UnitRecord,
)
from tests.unit.allocation.build import GPU, NIC, request, unit

HELD = frozenset(State) - {State.FREE, State.QUARANTINED}
HOSTS = ("a", "b")
REQUESTS = ("gpu:1", "gpu:2", "gpu:1,nic:1", "any:3", "required:2")


@st.composite
def inventories(draw: st.DrawFn) -> tuple[str, list[Unit]]:
    """What a host may show: cards come, go, change and move nodes."""
    host = draw(st.sampled_from(HOSTS))
    buses = draw(st.sets(st.integers(1, 4)))
    cards = st.lists(st.sampled_from([GPU, NIC]), min_size=1, max_size=2)
    nodes = st.sampled_from([None, 0, 1])
    return host, [
        unit(bus, *draw(cards), host=host, node=draw(nodes)) for bus in buses
    ]


class Ledger(RuleBasedStateMachine):
    """Two hosts' inventories, any number of consumers."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = SqlLedger(LedgerSettings("sqlite://"))
        self.ledger.sync()
        self.held: dict[str, set[object]] = {}
        self.seen: list[UnitRecord] = []
        for host in HOSTS:
            self.ledger.publish(host, [unit(1, host=host), unit(2, host=host)])

    def teardown(self) -> None:
        self.ledger.close()

    @rule(shown=inventories())
    def publish(self, shown: tuple[str, list[Unit]]) -> None:
        host, units = shown
        report = self.ledger.publish(host, units)
        again = self.ledger.publish(host, units)
        assert again == dataclasses.replace(
            report, added=(), changed=(), removed=(), missing=()
        )
        records = {r.unit.key: r for r in self.ledger.records(host=host)}
        for published in units:
            record = records.get(published.key)
            if published in report.withheld:
                assert record is None or record.state is not State.FREE
            else:
                assert record is not None
                assert record.unit == published or record.is_missing

    @rule(
        text=st.sampled_from(REQUESTS), host=st.none() | st.sampled_from(HOSTS)
    )
    def claim(self, text: str, host: str | None) -> None:
        consumer = str(uuid.UUID(int=len(self.seen) + 1))
        wish = request(text)
        expected = self.ledger.candidates(wish, host=host, limit=1)
        before = self.ledger.records()
        try:
            held = self.ledger.claim(wish, consumer, host=host)
        except errors.NoValidHost:
            assert expected == ()
            assert self.ledger.records() == before
            return
        (best,) = expected
        assert [r.unit for r in held.units] == [f.unit for f in best.units]
        was = {r.unit.key: r for r in before}
        for record in held.units:
            assert was[record.unit.key].state is State.FREE
            assert not was[record.unit.key].is_missing
        assert self.ledger.claim(wish, consumer, host=host) == held
        self.held[consumer] = {r.unit.key for r in held.units}
        self.seen += held.units

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        records = self.ledger.records()
        hypothesis.assume(records)
        record = data.draw(st.sampled_from(records))
        edges = sorted(TRANSITIONS[record.state])
        if record.state is State.FREE:
            edges.remove(State.CLAIMED)
        state = data.draw(st.sampled_from(edges))
        moved = self.ledger.move(record, state, reason="drawn")
        assert moved == self.ledger.unit(record.unit.key)
        self.seen.append(record)
        if state not in HELD and record.consumer is not None:
            self.held[record.consumer].remove(record.unit.key)

    @precondition(lambda self: self.seen)
    @rule(data=st.data(), state=st.sampled_from(State))
    def move_with_an_old_record(
        self, data: st.DataObject, state: State
    ) -> None:
        record = data.draw(st.sampled_from(self.seen))
        before = self.ledger.records()
        hypothesis.assume(record not in before)
        try:
            self.ledger.move(record, state)
        except errors.Refused:
            assert self.ledger.records() == before
        else:
            raise AssertionError("an old record moved a unit")

    @rule(host=st.sampled_from(HOSTS), cordons=st.booleans())
    def cordon_or_uncordon(self, host: str, cordons: bool) -> None:
        if cordons:
            assert self.ledger.cordon(host, "drawn").is_cordoned
        else:
            assert not self.ledger.uncordon(host).is_cordoned

    @invariant()
    def what_hosts_supply_is_counted(self) -> None:
        """Exactly: a claim is sent to no host in vain, and past none."""
        for host in self.ledger.hosts():
            records = self.ledger.records(host=host.name)
            is_free = [
                r.state is State.FREE
                and not r.is_missing
                and not host.is_cordoned
                for r in records
            ]
            free = [
                r.unit
                for r, is_it in zip(records, is_free, strict=True)
                if is_it
            ]
            counts = capacity.count_free(free, [r.unit for r in records])
            assert self.supplied(host.name) == {
                key: number for key, number in counts.items() if number
            }

    def supplied(
        self, host: str
    ) -> dict[tuple[capacity.DeviceModel, int], int]:
        """What the ledger counts of a host; zeros left out."""
        statement = (
            sa.select(schema.card, schema.supply)
            .join_from(schema.supply, schema.card)
            .join(schema.host, schema.host.c.id == schema.supply.c.host_id)
            .where(schema.host.c.name == host, schema.supply.c.free > 0)
        )
        return {
            (
                capacity.DeviceModel(
                    row.vendor_id,
                    row.product_id,
                    DeviceType(row.device_type),
                ),
                row.place,
            ): row.free
            for row in self.ledger.database.read(
                lambda c: c.execute(statement).all()
            )
        }

    @invariant()
    def each_unit_has_one_owner_or_none(self) -> None:
        records = self.ledger.records()
        for record in records:
            assert (record.state in HELD) == (record.consumer is not None)
            assert (record.state is State.QUARANTINED) == bool(record.reason)
        owned = {
            held.consumer: {r.unit.key for r in held.units}
            for held in self.ledger.allocations()
        }
        assert owned == {c: keys for c, keys in self.held.items() if keys}
        functions = [
            (record.unit.key.host, function.address)
            for record in records
            for function in record.unit.functions
        ]
        assert len(functions) == len(set(functions))


TestLedger = Ledger.TestCase
TestLedger.settings = hypothesis.settings(
    max_examples=40,
    stateful_step_count=25,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


@hypothesis.settings(max_examples=30)
@hypothesis.given(st.lists(st.sampled_from(REQUESTS), max_size=4))
def test_claim_then_release_restores_the_ledger(texts: list[str]) -> None:
    ledger = SqlLedger(LedgerSettings("sqlite://"))
    ledger.sync()
    ledger.publish("a", [unit(bus, host="a") for bus in range(3)])
    ledger.publish("b", [unit(1, GPU, NIC, host="b"), unit(2, NIC, host="b")])

    def shown() -> list[UnitRecord]:
        return [
            dataclasses.replace(record, generation=0)
            for record in ledger.records()
        ]

    before = shown()
    for number, text in enumerate(texts):
        try:
            ledger.claim(request(text), str(uuid.UUID(int=number)))
        except errors.NoValidHost:
            continue
    for held in ledger.allocations():
        for record in held.units:
            for state in (
                State.PREPARING,
                State.ACTIVE,
                State.RELEASING,
                State.SANITISING,
                State.FREE,
            ):
                record = ledger.move(record, state)
    assert shown() == before
    assert ledger.allocations() == ()
    ledger.close()
