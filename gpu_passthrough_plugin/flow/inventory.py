"""This host's units in the ledger, as the host shows them."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.flow.context import Site
from gpu_passthrough_plugin.flow.recovery import quiet
from gpu_passthrough_plugin.model.allocation import SyncReport
from gpu_passthrough_plugin.model.reading import known


def publish(site: Site, *, replaces: bool = False) -> SyncReport:
    """Make the ledger's inventory of this host what the host shows.

    :param replaces: whether it takes another machine's place.
    :raises Refused: when another machine published under its name.
    """
    with quiet(site):
        return site.ledger.publish(
            site.host,
            site.units(),
            aggregates=site.aggregates,
            machine=known(host_facts.machine_identity(site.tree)) or "",
            replaces=replaces,
        )
