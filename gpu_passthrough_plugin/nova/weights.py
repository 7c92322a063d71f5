"""Nova's weigher for units: the host that a request fits best.

It goes into ``[filter_scheduler] weight_classes`` by its path, behind
Nova's own ``nova.scheduler.weights.all_weighers``.  Both modes have it.
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
    help="How much it weighs, beside Nova's other weighers, that a host's"
    " free GPUs fit a request closely. Aggregate metadata of the same name"
    " goes before it; 0 turns it off.",
)

# Without Nova nobody loads the weigher; the rest of it works all the same.
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
    """Prefers hosts where the units are close, and where they fill a gap.

    Below one PCIe switch before several, on one NUMA node before two, and
    where the fewest stay free beside them: larger gaps are for who asks
    for more.  All hosts are equal to a request for no PCI function.  It
    weighs what the scheduler will claim, and so is of no use before
    IommuGroupFilter has put that first.
    """

    def weight_multiplier(self, host_state: Any) -> float:
        """An aggregate's value; the option's where none has one."""
        value: float = utils.get_weight_multiplier(
            host_state, MULTIPLIER, CONF[GROUP][MULTIPLIER]
        )
        return value

    def weigh_objects(
        self, weighed_obj_list: Sequence[Any], weight_properties: Any
    ) -> list[float]:
        """A weight for each host, which Nova brings between 0 and 1."""
        return weigher_cost.weights(
            [
                self._weigh_object(weighed.obj, weight_properties)
                for weighed in weighed_obj_list
            ]
        )

    def _weigh_object(
        self, host_state: Any, weight_properties: Any
    ) -> weigher_cost.Cost | None:
        """What the request costs one host; None where that is not known."""
        try:
            requests = weight_properties.pci_requests
            if not requests or not requests.requests:
                return None
            return weigher_cost.cost(
                pools.pools(host_state.pci_stats.pools),
                pools.asks(requests.requests),
                host_state.allocation_candidates,
            )
        # What is raised here ends the request.
        except Exception:
            LOG.exception(
                "%s is weighed last: what Nova says of its PCI functions or"
                " of the request for them is not what this weigher knows",
                host_state,
            )
            return None
