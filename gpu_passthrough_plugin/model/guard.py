"""What libvirt's hook decides on, and what it decides.

The hook is a process of its own, several times in a guest's life, and
libvirt waits for it.  ``dataclasses`` alone takes longer to import than
Python to start, and ``enum`` and ``typing`` a good part of that: so these
are plain classes, whose attributes nobody sets a second time.
"""

from __future__ import annotations

HOOK = "hook"
"""What a guest asked for that nobody had claimed for before it started.

No request is written like that: those have a number each.
"""

MODES = ("any", "full", "primary")
"""Which shape units are taken in: either, every endpoint, primaries only."""

ENDING = frozenset({"releasing", "sanitising"})
"""States of what is being given back."""


def is_ending(state: str, request: str) -> bool:
    """Whether a unit of a guest that ended is to be given back.

    One that somebody claimed, and that the guest never had, stays claimed.
    """
    return state in ENDING or (state == "claimed" and request == HOOK)


class Guest:
    """A libvirt domain, as far as it takes PCI functions of the host.

    :param uuid: as every ledger keeps it; empty where it takes none.
    :param functions: addresses, each with whether libvirt binds it.
    """

    __slots__ = ("functions", "name", "uuid")

    def __init__(
        self, name: str, uuid: str, functions: dict[str, bool]
    ) -> None:
        self.name = name
        self.uuid = uuid
        self.functions = functions


class Member:
    """A PCI function of a group, as sysfs has it now.

    :param ids: vendor and product, such as ``10de:1430``.
    :param class_code: six digits.
    :param driver: None for no driver.
    """

    __slots__ = (
        "address",
        "class_code",
        "driver",
        "ids",
        "is_bridge",
        "is_dead",
    )

    def __init__(
        self,
        address: str,
        ids: str,
        class_code: str,
        driver: str | None,
        *,
        is_bridge: bool = False,
        is_dead: bool = False,
    ) -> None:
        self.address = address
        self.ids = ids
        self.class_code = class_code
        self.driver = driver
        self.is_bridge = is_bridge
        self.is_dead = is_dead


class Group:
    """An IOMMU group that a guest takes functions of.

    :param members: all of them, by address.
    """

    __slots__ = ("members", "number")

    def __init__(self, number: int, members: tuple[Member, ...]) -> None:
        self.number = number
        self.members = members

    @property
    def endpoints(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if not m.is_bridge)


class Held:
    """A unit of this host, as the ledger has it.

    :param key: its lowest primary's address.
    :param functions: every endpoint's ids by address.
    :param primaries: the addresses of those that are primaries.
    :param state: one of ``State``'s values.
    :param consumer: the UUID of who holds it, or None.
    :param reason: why it is quarantined.
    """

    __slots__ = (
        "consumer",
        "functions",
        "key",
        "primaries",
        "reason",
        "state",
    )

    def __init__(
        self,
        key: str,
        functions: dict[str, str],
        primaries: frozenset[str],
        state: str,
        consumer: str | None,
        reason: str = "",
    ) -> None:
        self.key = key
        self.functions = functions
        self.primaries = primaries
        self.state = state
        self.consumer = consumer
        self.reason = reason


class Ledger:
    """What the ledger has of this host, and of one consumer anywhere.

    :param units: this host's.
    :param disabled: why nothing of this host is offered; None when it is.
    :param request: what the consumer asked for; empty when it has nothing.
    :param has: all that it holds: host, address and state.
    """

    __slots__ = ("disabled", "has", "request", "units")

    def __init__(
        self,
        units: tuple[Held, ...],
        disabled: str | None = None,
        request: str = "",
        has: tuple[tuple[str, str, str], ...] = (),
    ) -> None:
        self.units = units
        self.disabled = disabled
        self.request = request
        self.has = has


class Answer:
    """What is to be done for a guest.

    :param refusals: why it may not start, a sentence each; nothing else
        counts then.
    :param waits_for: what is being given back, and may be taken soon.
    :param takes: units to claim, by key, for it to be active at once.
    :param moves: units that were claimed for it, to be active now.
    """

    __slots__ = ("moves", "refusals", "takes", "waits_for")

    def __init__(
        self,
        refusals: tuple[str, ...] = (),
        waits_for: tuple[str, ...] = (),
        takes: tuple[str, ...] = (),
        moves: tuple[str, ...] = (),
    ) -> None:
        self.refusals = refusals
        self.waits_for = waits_for
        self.takes = takes
        self.moves = moves

    @property
    def changes_nothing(self) -> bool:
        """Whether there is nothing to write."""
        return bool(
            self.refusals or self.waits_for or not (self.takes or self.moves)
        )
