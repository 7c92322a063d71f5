"""libvirt's hook: put in place, taken away; what it hands over, released."""

from __future__ import annotations

import time

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.hook import script
from gpu_passthrough_plugin.flow.recovery import quiet
from gpu_passthrough_plugin.flow.site import Site
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import Action, Write
from gpu_passthrough_plugin.model.guard import HOOK
from gpu_passthrough_plugin.model.unit import State

STEP = "libvirt hook"
_LIBVIRT = "/etc/libvirt"
# Source: libvirt, hooks.html.
_OLDEST = 6_005_000
_NAP_S = 5


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


def release(site: Site, uuid: str, *, patience_s: float = 0) -> None:
    """Give back what a guest had that libvirt says has ended.

    All that any command does before its own work: what is releasing and
    in no journal is given back.  What the hook claimed, and died before it
    was active, was never the guest's.

    :param patience_s: how long it is tried anew where the lock, the ledger
        or libvirt does not answer.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            _release(site, uuid)
        except errors.Unavailable as error:
            if time.monotonic() > until:
                raise
            site.say(f"{error}; trying again")
            time.sleep(_NAP_S)
        else:
            return


def _release(site: Site, uuid: str) -> None:
    with quiet(site):
        held = [r for r in site.held(uuid) if r.state is State.CLAIMED]
        if not held or site.ledger.allocation(uuid).request != HOOK:
            return
        for record in held:
            site.ledger.move(record, State.FREE)
            site.say(f"unit {record.unit.key} is free")
