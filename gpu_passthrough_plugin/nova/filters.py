"""Nova's scheduler filter: whole groups, and units close to each other.

An operator adds it to ``[filter_scheduler] available_filters`` by its path
and to ``enabled_filters`` before NUMATopologyFilter and
PciPassthroughFilter, which then choose among whole groups only.  It needs
Nova 27, ``[filter_scheduler] pci_in_placement`` and, on the hosts, ``[pci]
report_in_placement``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin.nova import candidates, pools, validation

# Without Nova nothing loads the filter, but importing it works.
if TYPE_CHECKING:
    _BaseHostFilter = object
else:
    try:
        from nova.scheduler.filters import BaseHostFilter as _BaseHostFilter
    except ImportError:
        _BaseHostFilter = object

LOG = logging.getLogger(__name__)


class IommuGroupFilter(_BaseHostFilter):
    """Replace a host's candidates by those that are whole IOMMU groups.

    Where the flavor requires a locality (``validation``), only by those
    that are that close to each other.  Without one, hosts without the tag
    ``iommu_group``, and requests for none of the functions that have it,
    are not touched.  Everything else fails closed: a host is rejected when
    no whole group is free, or when what Nova reports of it cannot be
    understood.
    """

    # Each instance of a request takes groups from the next.
    run_filter_once_per_request = False
    # There are no candidates then, and the host stays the same.
    RUN_ON_REBUILD = False

    def host_passes(self, host_state: Any, spec_obj: Any) -> bool:
        """Return whether the host can take it; replace its candidates."""
        try:
            built = _built(host_state, spec_obj)
            if built == () and LOG.isEnabledFor(logging.DEBUG):
                _log_rejection(host_state, spec_obj)
        # An exception here would end the request on every other host, too.
        except Exception:
            LOG.exception(
                "%s is rejected: this filter cannot read its PCI pools, or"
                " the request for PCI devices",
                host_state,
            )
            return False
        if built is None:
            return True
        if built:
            LOG.debug(
                "%s has %d candidates of whole IOMMU groups",
                host_state,
                len(built),
            )
        host_state.allocation_candidates = list(built)
        return bool(built)


def _log_rejection(host_state: Any, spec_obj: Any) -> None:
    """Log why no whole group of a host fits, in one line."""
    why = candidates.rejection(
        pools.read_pools(host_state.pci_stats.pools),
        pools.read_requests(spec_obj.pci_requests.requests),
        host_state.allocation_candidates,
        validation.locality(spec_obj.flavor.extra_specs),
    )
    LOG.debug("%s is rejected: %s", host_state, why)


def _built(
    host_state: Any, spec_obj: Any
) -> tuple[candidates.Candidate, ...] | None:
    """Return the host's candidates; None if they can stay as they are."""
    requests = spec_obj.pci_requests
    if not requests or not requests.requests or not host_state.pci_stats:
        return None
    host_pools = host_state.pci_stats.pools
    locality = validation.locality(spec_obj.flavor.extra_specs)
    if not locality and not any(pools.GROUP_TAG in p for p in host_pools):
        return None
    return candidates.build(
        pools.read_pools(host_pools),
        pools.read_requests(requests.requests),
        host_state.allocation_candidates,
        locality,
    )
