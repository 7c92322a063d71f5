"""Binding by address: the targets alone, and no identical function."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.binding.address import AddressBinding
from gpu_passthrough_plugin.enablement.driver import BindingCase, BindingPlan
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Action
from tests.unit.enablement.values import case, target
from tests.unit.isolation.values import audio, gpu

TWIN = gpu("07:00.0")


def planned(of: BindingCase) -> BindingPlan:
    return AddressBinding().plan(of)


def test_a_twin_is_left_alone() -> None:
    plan = planned(case(TWIN))
    assert plan.changes == ()
    assert plan.requirements == Requirements()
    assert plan.content.modules == ("vfio", "vfio_iommu_type1", "vfio_pci")
    assert plan.content.config_files == ()


def test_the_script_reserves_each_target_by_address_and_ids() -> None:
    rows = planned(case(TWIN)).content.script.splitlines()
    assert [row for row in rows if row.startswith("gpupt_take ")] == [
        "gpupt_take 0000:06:00.0 0x10de:0x1430",
        "gpupt_take 0000:06:00.1 0x10de:0x0fba",
    ]


def test_the_file_of_a_binding_by_ids_is_removed() -> None:
    path = "/etc/modprobe.d/gpu-passthrough.conf"
    files = {path: "options vfio-pci ids=10de:1430\n"}
    (change,) = planned(case(TWIN, files=files)).changes
    assert (change.path, change.action) == (path, Action.REMOVE)


def test_a_file_that_captures_a_function_that_stays_is_refused() -> None:
    files = {"etc/modprobe.d/vfio.conf": "options vfio-pci ids=10de:1430\n"}
    with pytest.raises(errors.Refused, match=r"0000:07:00\.0"):
        planned(case(TWIN, files=files))


def test_a_target_without_ids_is_refused() -> None:
    unread = target(gpu(), "nouveau")._replace(vendor_id=0)
    with pytest.raises(errors.Refused, match=r"0000:06:00\.0"):
        planned(case(audio(), targets=(unread,)))
