"""By address: twins stay, and no file of the host's takes them either."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.binding.address import AddressBinding
from gpu_passthrough_plugin.enablement.driver import BindingCase, BindingPlan
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Action
from gpu_passthrough_plugin.model.reading import MISSING
from tests.unit.enablement.values import case, target
from tests.unit.isolation.values import audio, function, gpu, port

TWIN = gpu("07:00.0")
OPERATORS = "etc/modprobe.d/vfio.conf"


def planned(of: BindingCase) -> BindingPlan:
    return AddressBinding().plan(of)


def test_a_twin_is_no_matter() -> None:
    plan = planned(case(TWIN))
    assert plan.changes == ()
    assert plan.requirements == Requirements()
    assert plan.content.modules == ("vfio", "vfio_iommu_type1", "vfio_pci")
    assert plan.content.config_files == ()


def test_the_script_takes_each_function_by_what_it_is() -> None:
    rows = planned(case(TWIN)).content.script.splitlines()
    assert [row for row in rows if row.startswith("gpupt_take ")] == [
        "gpupt_take 0000:06:00.0 0x10de:0x1430",
        "gpupt_take 0000:06:00.1 0x10de:0x0fba",
    ]


def test_a_binding_by_ids_makes_place() -> None:
    path = "/etc/modprobe.d/gpu-passthrough.conf"
    files = {path: "options vfio-pci ids=10de:1430\n"}
    (change,) = planned(case(TWIN, files=files)).changes
    assert (change.path, change.action) == (path, Action.REMOVE)


@pytest.mark.parametrize(
    "line",
    [
        "options vfio-pci ids=10de:1430,10de:0fba disable_vga=1",
        "options vfio_pci disable_vga=1 ids=10de:1430",
        'options vfio-pci ids="10de:1430"',
        "options vfio-pci ids=10DE:1430",
        "options  vfio-pci \\\n  ids=1002:5046,\\\n10de:1430",
        "options vfio-pci ids=10de:ffffffff",
        "options vfio-pci ids=10de:1430:0:0",
        "options vfio-pci ids=ffffffff:ffffffff:ffffffff:ffffffff:30000:ff00",
    ],
)
def test_a_file_that_takes_the_twin_is_named(line: str) -> None:
    with pytest.raises(errors.Refused) as caught:
        planned(case(TWIN, files={OPERATORS: f"{line}\n"}))
    assert str(caught.value).startswith("/etc/modprobe.d/vfio.conf:")
    assert "0000:07:00.0" in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "# options vfio-pci ids=10de:1430",
        "options vfio-pci disable_vga=1",
        "options vfio-pci ids=",
        "options vfio-pci ids=10de",
        "options vfio-pci ids=nonsense:1430",
        "options vfio-pci ids=1:2:3:4:5:6:7",
        "options vfio ids=10de:1430",
        "options vfio-pci ids=10de:1430:1:0",
        "options vfio-pci ids=10de:0fba",
        "options vfio-pci ids=10de:ffffffff:ffffffff:ffffffff:40300:ffff00",
        "blacklist vfio-pci",
    ],
)
def test_a_file_that_takes_no_other_is_fine(line: str) -> None:
    plan = planned(case(TWIN, files={OPERATORS: f"{line}\n"}))
    assert plan.content.script


def test_vfio_pci_takes_no_bridge() -> None:
    line = "options vfio-pci ids=8086:0e04\n"
    assert planned(case(port(), files={OPERATORS: line})).content.script


def test_a_file_that_is_hidden_by_another_takes_nothing() -> None:
    files = {
        "lib/modprobe.d/vfio.conf": "options vfio-pci ids=10de:1430\n",
        OPERATORS: "# nothing\n",
    }
    assert planned(case(TWIN, files=files)).content.script
    del files[OPERATORS]
    with pytest.raises(errors.Refused, match=r"^/lib/modprobe.d/vfio.conf"):
        planned(case(TWIN, files=files))


def test_what_is_unknown_may_be_taken() -> None:
    lost = function("09:00.0", "10de:1430", 0x030000, vendor_id=MISSING)
    line = "options vfio-pci ids=10de:1430\n"
    with pytest.raises(errors.Refused, match=r"0000:09:00\.0"):
        planned(case(lost, files={OPERATORS: line}))


@pytest.mark.parametrize("vendor", [0, 0xFFFF])
def test_a_target_that_nobody_could_tell_is_refused(vendor: int) -> None:
    lost = target(gpu(), "nouveau")._replace(vendor_id=vendor)
    with pytest.raises(errors.Refused, match=r"0000:06:00\.0"):
        planned(case(audio(), targets=(lost,)))
