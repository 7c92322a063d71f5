"""One example of each cause."""

from __future__ import annotations

from tests.unit.diagnosis.examples import (
    device_missing,
    driver_binding,
    group_peers,
    guest_runtime,
    iommu_startup,
    kernel_arguments,
    log_events,
    vfio_module,
    vfio_selection,
)

EXAMPLES = {
    **iommu_startup.EXAMPLES,
    **kernel_arguments.EXAMPLES,
    **device_missing.EXAMPLES,
    **driver_binding.EXAMPLES,
    **vfio_module.EXAMPLES,
    **vfio_selection.EXAMPLES,
    **group_peers.EXAMPLES,
    **guest_runtime.EXAMPLES,
    **log_events.EXAMPLES,
}
"""By the name of the cause."""
