"""Hosts of public reports that work, and that other tools called unfit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.model.finding import Status
from tests.trees import reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import checked, select, verified

BOUND = "03:00.0 0302 10de:2331 group=20 driver=vfio-pci\n"
FREE = "03:00.0 0302 10de:2331 group=20\n"
MODULES = f"lib/modules/{reported.RELEASE}"


def firmware_unseen() -> Host:
    """openshift/sriov-network-operator#498: no tables in a container."""
    units = [f"dmar{number}" for number in range(8)]
    return reported.host(
        BOUND, arguments="intel_iommu=on", tables=(), iommus=units
    )


def no_line_of_its_own() -> Host:
    """oracle/oci-utils#6: EPYC has ivhd, and never a dmar."""
    units = [f"ivhd{number}" for number in range(8)]
    return reported.host(BOUND, cpu="amd", iommus=units)


def built_in() -> Host:
    """cisco-system-traffic-generator/trex-core#593: vfio in the kernel."""
    host = reported.host(
        BOUND,
        files={
            f"{MODULES}/modules.builtin": "kernel/drivers/vfio/pci/vfio-pci.ko"
        },
    )
    host.device("/devices/pci0000:03/0000:03:00.0/vfio-dev/vfio0", "vfio-dev")
    return host


def on_demand() -> Host:
    """kubernetes-sigs/dra-driver-nvidia-gpu#801: not loaded yet."""
    path = "kernel/drivers/vfio/pci/vfio-pci.ko.zst:"
    return reported.host(FREE, files={f"{MODULES}/modules.dep": f"{path}\n"})


def without_type1() -> Host:
    """ipaqmaster/vfio#2: vfio_iommu_type1 comes with the first guest."""
    return reported.host(
        BOUND, arguments="intel_iommu=on", iommus=("dmar0", "dmar1")
    )


def grace() -> Host:
    """kubevirt/kubevirt#17905: GH200 on a variant driver of VFIO's."""
    host = reported.host(
        "0009:01:00.0 0302 10de:2342 group=14 driver=nvgrace_gpu_vfio_pci",
        cpu="arm",
        iommus=("smmu3.0x0000000005000000",),
    )
    host.device("/devices/pci0009:01/0009:01:00.0/vfio-dev/vfio0", "vfio-dev")
    return host


def device_tree() -> Host:
    """openwrt/openwrt#13364: an SMMU that no ACPI table describes."""
    return reported.host(
        "0001:01:00.0 0200 10ec:8168 group=3 driver=vfio-pci",
        cpu="arm",
        tables=(),
        iommus=("smmu.5000000",),
    )


@pytest.mark.parametrize(
    "host",
    [
        firmware_unseen,
        no_line_of_its_own,
        built_in,
        on_demand,
        without_type1,
        device_tree,
    ],
)
def test_a_host_that_works_passes(host: Callable[[], Host]) -> None:
    policy = select("10de:*", "10ec:*")
    for finding in checked(host(), policy).values():
        assert finding.status is Status.PASS, finding


def test_a_variant_driver_of_vfio_is_vfio() -> None:
    findings = checked(grace())
    for name in ("firmware", "iommu", "groups", "assignable"):
        assert findings[name].status is Status.PASS
    assert findings["vfio-pci"].status is not Status.FAIL
    row = verified(grace())["0009:01:00.0"]
    assert row.status is Status.PASS and not row.causes


def vfio_without_iommu() -> Host:
    """spdk/spdk#462: the modules are loaded, and no IOMMU runs."""
    host = reported.host(
        "b1:00.0 0108 8086:2701 driver=uio_pci_generic", iommus=()
    )
    host.folder("sys/bus/pci/drivers/vfio-pci")
    return host


def test_modules_of_vfio_are_no_iommu() -> None:
    findings = checked(vfio_without_iommu(), select("8086:2701"))
    assert findings["vfio-pci"].status is Status.PASS
    for name in ("iommu", "groups", "assignable"):
        assert findings[name].status is Status.FAIL
