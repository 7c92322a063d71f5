"""libvirt's hook: put in place, taken away, and with all of the product."""

from __future__ import annotations

from collections.abc import Callable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import Driver
from gpu_passthrough_plugin.compute.hook import script
from gpu_passthrough_plugin.flow.recovery import quiet
from gpu_passthrough_plugin.flow.site import Site
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.change import Action, Write
from gpu_passthrough_plugin.model.guard import (
    HOOK,
    Answer,
    Held,
    Ledger,
    is_ending,
)
from gpu_passthrough_plugin.model.selector import Kind, Selector
from gpu_passthrough_plugin.model.unit import (
    State,
    UnitRecord,
)

STEP = "libvirt hook"
_LIBVIRT = "/etc/libvirt"
# Source: libvirt, hooks.html.
_OLDEST = 6_005_000
_SHOWN = {Kind.IDS: "ids", Kind.CLASS: "class", Kind.ADDRESS: "address"}
_TRIES = 8


def planned(files: Files, terms: script.Terms, libvirt: int | None) -> Write:
    """What puts the hook in place, or changes it.

    :param libvirt: its version as a number; None where it is not known.
    :raises Refused: when libvirt is too old or not there, or somebody
        else's file is.
    """
    if libvirt is not None and libvirt < _OLDEST:
        raise errors.Refused(
            f"libvirt here is {_version(libvirt)}, which looks into no"
            f" {script.FOLDER}; wanted {_version(_OLDEST)} or newer"
        )
    if files.missing(f"{_LIBVIRT}/hooks"):
        raise errors.Refused(
            f"there is no {_LIBVIRT} here; install libvirt's daemon first"
        )
    text = script.script(terms)
    return Write(STEP, script.PATH, _ours(files), text, script.MODE)


def removal(files: Files) -> Write:
    """What takes the hook away.

    :raises Refused: when somebody else's file is there.
    """
    return Write(STEP, script.PATH, _ours(files), None)


def carry_out(files: Files, change: Write) -> None:
    """Do what was planned."""
    if change.becomes is None:
        files.remove(change.path)
        return
    if change.action is not Action.KEEP:
        files.put(change.path, change.becomes, change.mode)
    entry = files.entry(change.path)
    if entry and entry.attributes.mode != change.mode:
        wanted = entry.attributes._replace(mode=change.mode)
        files.dress(change.path, wanted)


def _ours(files: Files) -> bytes | None:
    """What is there of ours; None for nothing."""
    there = files.read(script.PATH)
    if there is not None and not script.is_ours(there):
        raise errors.Refused(
            f"{script.PATH} is somebody else's, or was edited; move it away,"
            " then run this again"
        )
    return there


def _version(number: int) -> str:
    """Source: libvirt, virGetVersion."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def patterns(
    selectors: tuple[Selector, ...],
) -> tuple[tuple[str, str], ...]:
    """Selectors as ``decision.Patterns`` takes them."""
    return tuple((_SHOWN[s.kind], s.pattern.pattern) for s in selectors)


def release(site: Site, uuid: str) -> None:
    """Give back what a guest had that libvirt says has ended.

    All that any command does before its own work: what is releasing and
    in no journal is given back.  What the hook claimed, and died before it
    was active, was never the guest's.
    """
    with quiet(site):
        held = [r for r in site.held(uuid) if r.state is State.CLAIMED]
        if not held or site.ledger.allocation(uuid).request != HOOK:
            return
        for record in held:
            site.ledger.move(record, State.FREE)
            site.say(f"unit {record.unit.key} is free")


class DriverBooks:
    """The ledger by its driver: whichever that is."""

    def __init__(self, ledger: Driver, host: str) -> None:
        self._ledger = ledger
        self._host = host

    def attempt(
        self, uuid: str, decide: Callable[[Ledger], Answer], request: str
    ) -> Answer:
        """What was decided on the ledger, and done in it.

        :raises Conflict: when others changed it time and again.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._attempt(uuid, decide, request)
            except errors.Conflict:
                continue
        return self._attempt(uuid, decide, request)

    def _attempt(
        self, uuid: str, decide: Callable[[Ledger], Answer], request: str
    ) -> Answer:
        records = self._ledger.records(host=self._host)
        answer = decide(self._shown(uuid, records))
        if answer.changes_nothing:
            return answer
        by_key = {str(r.unit.key.address): r for r in records}
        moved = [by_key[key] for key in answer.moves]
        if answer.takes:
            keys = [by_key[key].unit.key for key in answer.takes]
            moved += self._ledger.take(keys, uuid, request).units
        for record in moved:
            self._ledger.move(record, State.ACTIVE)
        return answer

    def let_go(self, uuid: str) -> bool:
        """Whether there is something of its to give back."""
        for record in self._ledger.records(host=self._host):
            if record.consumer == uuid and record.state is State.ACTIVE:
                self._ledger.move(record, State.RELEASING)
        held = self._allocation(uuid)
        return held is not None and any(
            is_ending(str(r.state), held.request) for r in held.units
        )

    def _allocation(self, uuid: str) -> Allocation | None:
        try:
            return self._ledger.allocation(uuid)
        except errors.Refused:
            return None

    def _shown(self, uuid: str, records: tuple[UnitRecord, ...]) -> Ledger:
        disabled = [
            host.reason
            for host in self._ledger.hosts()
            if host.name == self._host and host.is_disabled
        ]
        held = self._allocation(uuid)
        return Ledger(
            tuple(_held(r) for r in records),
            disabled[0] if disabled else None,
            held.request if held else "",
            tuple(
                (r.unit.key.host, str(r.unit.key.address), str(r.state))
                for r in (held.units if held else ())
            ),
        )


def _held(record: UnitRecord) -> Held:
    unit = record.unit
    return Held(
        str(unit.key.address),
        {
            str(f.address): f"{f.vendor_id:04x}:{f.product_id:04x}"
            for f in unit.functions
        },
        frozenset(str(f.address) for f in unit.primaries),
        str(record.state),
        record.consumer,
        record.reason,
    )
