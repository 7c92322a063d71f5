"""Nova's scheduler filter for the full mode.

It goes into ``[filter_scheduler] available_filters`` by its path and into
``enabled_filters`` before PciPassthroughFilter, which then finds whole
groups only.  It needs Nova 27, ``[filter_scheduler] pci_in_placement``
and, on the hosts, ``[pci] report_in_placement``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin.nova import candidates, pools

# Without Nova nobody loads the filter; the rest of it works all the same.
if TYPE_CHECKING:
    _BaseHostFilter = object
else:
    try:
        from nova.scheduler.filters import BaseHostFilter as _BaseHostFilter
    except ImportError:
        _BaseHostFilter = object

LOG = logging.getLogger(__name__)

# What reading Nova's structures raises when they are not as they were.
_UNLIKE_NOVA = (AttributeError, LookupError, TypeError, ValueError)


class IommuGroupFilter(_BaseHostFilter):
    """Leaves a host the candidates that are whole IOMMU groups.

    Hosts without the tag ``iommu_group``, and requests for none of the
    functions that have it, are not touched.  Everything else fails
    closed: a host is passed over when no whole group is free, or when
    what Nova says of it cannot be understood.
    """

    # Each instance of a request takes groups from the next.
    run_filter_once_per_request = False
    # There are no candidates then, and the host stays the same.
    RUN_ON_REBUILD = False

    def host_passes(self, host_state: Any, spec_obj: Any) -> bool:
        """Whether the host can take it; replaces the host's candidates."""
        requests = spec_obj.pci_requests
        if not requests or not requests.requests or not host_state.pci_stats:
            return True
        found = host_state.pci_stats.pools
        if not any(pools.GROUP in pool for pool in found):
            return True
        try:
            built = candidates.build(
                pools.pools(found),
                pools.asks(requests.requests),
                host_state.allocation_candidates,
            )
        except _UNLIKE_NOVA:
            LOG.exception(
                "%s is passed over: what Nova says of its PCI functions or"
                " of the request for them is not what this filter knows",
                host_state,
            )
            return False
        if built is None:
            return True
        LOG.debug("%s has %d ways to whole groups", host_state, len(built))
        host_state.allocation_candidates = list(built)
        return bool(built)
