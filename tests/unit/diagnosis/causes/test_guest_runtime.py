from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis.causes import guest_runtime
from tests.unit.diagnosis.build import (
    RELEASE,
    bound,
    case,
    cause,
    conf,
)
from tests.unit.isolation.values import facts


@pytest.mark.parametrize(
    "text",
    [
        "options vfio_pci allow_unsafe_interrupts=1",
        "softdep vfio_iommu_type1 allow_unsafe_interrupts=1",
        "options vfio_iommu_type1 allow_unsafe_interrupts=0",
    ],
)
def test_what_does_not_allow_unsafe_interrupts(text: str) -> None:
    told = facts(kernel_arguments=("nointremap",), kernel_release=RELEASE)
    unsafe = cause(
        guest_runtime.interrupt_remapping,
        case(*bound(), facts=told, **conf(text)),
    )
    assert unsafe.confidence == "likely"
    assert unsafe.evidence == "/proc/cmdline: nointremap"
