"""What a picture of a host is made of: read from the host and its ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpu_passthrough_plugin.discovery import function_health
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow.host_snapshot import HostSnapshot
from gpu_passthrough_plugin.model import fabric
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import UnitListing
from gpu_passthrough_plugin.model.function_health import Link
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.selector import Enabled
from gpu_passthrough_plugin.picture import document as documents
from gpu_passthrough_plugin.picture.host_picture import (
    HostPicture,
    LedgerState,
)
from gpu_passthrough_plugin.picture.nesting import HostContent, picture


def draw(
    tree: Tree,
    snapshot: HostSnapshot,
    enabled: Enabled | None,
    title: str,
    names: Mapping[Address, tuple[str, str]],
    listing: UnitListing | None,
    holders: Mapping[str, str],
) -> HostPicture:
    """Return the picture of a host.

    :param enabled: which functions 'host enable' took; None where unknown.
    :param names: vendor and device of each function.
    :param listing: the ledger's units of this host; None where it was not
        read.
    :param holders: names of guests by their UUID, where they are known.
    """
    groups = snapshot.groups()
    functions = sorted(
        (m.function for g in groups for m in g.members),
        key=lambda f: f.address,
    )
    above = {f.address: discovery.bridges(tree, f) for f in functions}
    return picture(
        HostContent(
            title=title,
            groups=groups,
            parents={a: b[-1] if b else None for a, b in above.items()},
            names=names,
            states=snapshot.selection_states(enabled),
            facts=lambda member: _facts(tree, member),
            fabric=fabric.fabric(functions),
            ledger=None if listing is None else _states(listing, holders),
        )
    )


def document(host: HostPicture, suffix: str) -> str:
    """Return a picture in the format ``svg``, ``html`` or ``json``."""
    return documents.text(host, suffix)


def _states(
    listing: UnitListing, holders: Mapping[str, str]
) -> dict[Address, LedgerState]:
    return {
        record.unit.key.address: LedgerState(
            record.state,
            holders.get(record.consumer or "") or record.consumer or "",
            record.reason,
        )
        for record in listing.records
    }


def _facts(tree: Tree, member: Member) -> Iterator[str]:
    """Yield a function's driver, its link beside its maximum, and resets."""
    driver = member.function.driver
    if isinstance(driver, Unknown):
        yield f"driver {driver}"
    else:
        yield driver or "no driver"
    if member.function.is_bridge:
        return
    link = function_health.health(tree, member.address).link
    yield from _link(link)
    methods = None if member.detail is None else member.detail.reset_methods
    if isinstance(methods, tuple):
        yield f"reset {' '.join(methods) or 'disabled'}"


def _link(link: Link) -> Iterator[str]:
    if link.speed_gts is None or isinstance(link.speed_gts, Unknown):
        return
    most = Link(link.max_speed_gts, link.max_width)
    is_most = (link.speed_gts, link.width) == (most.speed_gts, most.width)
    yield str(link) if is_most else f"{link} of {most}"
