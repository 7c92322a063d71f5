"""Nova's weigher for units: which host a request fits best.

An operator adds it to ``[filter_scheduler] weight_classes`` by its path,
behind Nova's own ``nova.scheduler.weights.all_weighers``.  Both modes have
it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oslo_config import cfg

from gpu_passthrough_plugin.nova import pools, weigher_cost

LOG = logging.getLogger(__name__)

MULTIPLIER = "gpu_affinity_weight_multiplier"
GROUP = "filter_scheduler"
OPT = cfg.FloatOpt(
    MULTIPLIER,
    # A host with more units in use has less memory left, for which Nova's
    # own weighers avoid it, up to 1.0 each.
    default=10.0,
    help="How much weight a close fit of a host's free GPUs to a request has,"
    " in comparison with Nova's other weighers. Aggregate metadata of the same"
    " name overrides it; 0 turns it off.",
)

# Without Nova nothing loads the weigher, but importing it works.
if TYPE_CHECKING:
    _BaseHostWeigher = object
    CONF: Any
    utils: Any
else:
    try:
        from nova.conf import CONF
        from nova.scheduler import utils
        from nova.scheduler.weights import BaseHostWeigher as _BaseHostWeigher
    except ImportError:
        _BaseHostWeigher = object
    else:
        CONF.register_opt(OPT, group=GROUP)


class GpuAffinityWeigher(_BaseHostWeigher):
    """Prefer hosts where the units are close, and where they fill a gap.

    Below one PCIe switch before several, on one NUMA node before two, and
    where the fewest stay free next to them: larger gaps are kept for
    larger requests.  All hosts are equal for a request without a PCI
    function.  It weighs the candidate that the scheduler will claim, which
    IommuGroupFilter has put first.
    """

    def weight_multiplier(self, host_state: Any) -> float:
        """Return an aggregate's value; the option's where none has one."""
        value: float = utils.get_weight_multiplier(
            host_state, MULTIPLIER, CONF[GROUP][MULTIPLIER]
        )
        return value

    def weigh_objects(
        self, weighed_obj_list: Sequence[Any], weight_properties: Any
    ) -> list[float]:
        """Return a weight for each host; Nova scales it to 0 to 1."""
        return weigher_cost.weights(
            [
                self._weigh_object(weighed.obj, weight_properties)
                for weighed in weighed_obj_list
            ]
        )

    def _weigh_object(
        self, host_state: Any, weight_properties: Any
    ) -> weigher_cost.Cost | None:
        """Return what the request costs one host; None if not known."""
        try:
            requests = weight_properties.pci_requests
            if not requests or not requests.requests:
                return None
            return weigher_cost.cost(
                pools.read_pools(host_state.pci_stats.pools),
                pools.read_requests(requests.requests),
                host_state.allocation_candidates,
            )
        # An exception here would end the request.
        except Exception:
            LOG.exception(
                "%s is weighed last: this weigher cannot read its PCI pools,"
                " or the request for PCI devices",
                host_state,
            )
            return None
