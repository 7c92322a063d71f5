"""Which aliases match cards that an instance cannot map by default."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model.address_space import (
    QEMU_ADDRESS_BITS,
    Slot,
    shown,
)
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from gpu_passthrough_plugin.nova import address_space
from gpu_passthrough_plugin.nova.address_space import BITS, MODE, Need
from gpu_passthrough_plugin.nova.lint import alias_matching
from gpu_passthrough_plugin.nova.lint.host_view import (
    HostView,
    Problem,
    Rule,
)

ADDRESSES = "addresses"

# Guests have the host's bits then.  Source: nova, conf/libvirt.py; qemu,
# target/i386/host-cpu.c.
_HOST_MODES = frozenset({"host-passthrough", "maximum"})


def is_of_use(view: HostView) -> bool:
    """Return whether files and host say what guests may be given."""
    return view.hardware is not None and bool(view.listed)


def _lacking(view: HostView, *, can_ask: bool) -> Iterator[Problem]:
    """Yield aliases whose functions a guest cannot map by default.

    :param can_ask: whether to yield them for a release in which a flavor
        can ask for more address bits, or for one in which none can.
    """
    if view.release.knows(Feature.ADDRESS_BITS) is not can_ask:
        return
    for line in view.aliases:
        need = _need(line.entry, view)
        if not isinstance(need, Need) or need.lack.is_low or not need.enough:
            continue
        yield (
            line.place,
            (
                line.entry.name,
                need.fewest,
                shown(need.lack.needed_bytes),
                shown(need.lack.available_bytes),
                need.enough,
            ),
        )


def _unread(view: HostView) -> Iterator[Problem]:
    for line in view.aliases:
        if isinstance(_need(line.entry, view), Unknown):
            yield line.place, (line.entry.name,)


def _hopeless(view: HostView) -> Iterator[Problem]:
    """Yield aliases for which no setting is enough on this host."""
    for line in view.aliases:
        need = _need(line.entry, view)
        if isinstance(need, Need) and need.bits is None:
            where = "below" if need.lack.is_low else "above"
            needed = shown(need.lack.needed_bytes)
            remedy = (
                f"request fewer than {need.fewest} in one flavor"
                if need.fewest > 1
                else "use these functions on a host with more address bits"
            )
            yield (
                line.place,
                (line.entry.name, need.fewest, needed, where, remedy),
            )


def _need(alias: AliasEntry, view: HostView) -> Need | Unknown | None:
    hardware, slots = view.hardware, _slots(alias, view)
    if hardware is None or not hardware.may_be_x86:
        return None
    bits = (
        hardware.address_bits
        if view.conf.cpu_mode in _HOST_MODES
        else QEMU_ADDRESS_BITS
    )
    if slots is None:
        return MISSING
    if isinstance(bits, Unknown):
        return bits
    units = [[slot] for slot in slots]
    return address_space.need_on(hardware, units, ram_mib=0, bits=bits)


def _slots(alias: AliasEntry, view: HostView) -> tuple[Slot, ...] | None:
    devices = alias_matching.matched(alias, view)
    bars = {} if view.hardware is None else view.hardware.bars
    return address_space.slots((d.address for d in devices), bars)


RULES = (
    Rule(ADDRESSES, Status.WARN, functools.partial(_lacking, can_ask=True),
         "a guest with {1} of alias {0!r} cannot map the BARs by default:"
         " they need {2} above 4 GiB, where UEFI firmware has {3}",
         f"set {MODE}=emulate in the flavors that request it, and {BITS}:"
         " {4} of them"),
    Rule(ADDRESSES, Status.WARN, functools.partial(_lacking, can_ask=False),
         "a guest with {1} of alias {0!r} cannot map the BARs by default:"
         " they need {2} above 4 GiB, where UEFI firmware has {3}",
         "set [libvirt] cpu_mode = host-passthrough: this release of Nova"
         " has no other way to give guests more address bits"),
    Rule(ADDRESSES, Status.WARN, _hopeless,
         "a guest with {1} of alias {0!r} cannot map the BARs on this host:"
         " they need {2} {3} 4 GiB", "{4}"),
    Rule(ADDRESSES, Status.WARN, _unread,
         "unknown whether guests can map the functions of alias {0!r}: the"
         " host's address bits or the sizes of BARs could not be read",
         "run this on the host itself, or record the host again"),
)  # fmt: skip
