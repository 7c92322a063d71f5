"""Binding by ids: those of every target, and of no other function."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.binding.ids import IdsBinding
from gpu_passthrough_plugin.enablement.driver import BindingCase, BindingPlan
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Action
from gpu_passthrough_plugin.model.reading import MISSING
from tests.trees import boot
from tests.trees.installed import installation
from tests.unit.enablement.values import CARD, case, host, target, written
from tests.unit.isolation.values import audio, function, gpu, port

PATH = "/etc/modprobe.d/gpu-passthrough.conf"
IDS = ("10de:1430", "10de:0fba")


def planned(of: BindingCase) -> BindingPlan:
    return IdsBinding().plan(of)


def rows(plan: BindingPlan) -> list[str]:
    text = written(plan.changes)[PATH]
    assert text is not None
    return [row for row in text.splitlines() if not row.startswith("#")]


def test_ids_are_in_the_order_of_targets_and_unique() -> None:
    targets = (
        *CARD,
        target(gpu("82:00.0"), "nouveau", "nvidia_drm"),
        target(audio("82:00.1"), "snd_hda_intel"),
    )
    plan = planned(case(port(), targets=targets))
    assert rows(plan) == [
        "options vfio-pci ids=10de:1430,10de:0fba",
        "softdep nouveau pre: vfio-pci",
        "softdep nvidia_drm pre: vfio-pci",
        "softdep snd_hda_intel pre: vfio-pci",
    ]
    assert plan.changes[0].action is Action.CREATE
    assert plan.requirements == Requirements()
    assert plan.content.script == ""
    assert plan.content.config_files == (PATH,)
    assert plan.content.modules[-1] == "vfio_pci"


def test_a_second_plan_changes_nothing() -> None:
    files = written(planned(case()).changes)
    there = {path: text or "" for path, text in files.items()}
    (change,) = planned(case(files=there)).changes
    assert change.action is Action.KEEP


def test_a_built_in_vfio_gets_its_ids_as_an_argument() -> None:
    plan = planned(case(is_vfio_builtin=True))
    assert plan.requirements == Requirements(lists=(("vfio-pci.ids", IDS),))


def test_a_vfio_that_may_be_built_in_gets_them_too() -> None:
    lost = installation(host().tree())
    kernels = tuple(k._replace(builtin=MISSING) for k in lost.kernels)
    plan = planned(BindingCase(CARD, (), lost._replace(kernels=kernels)))
    assert plan.requirements.lists == (("vfio-pci.ids", IDS),)


def test_a_twin_is_refused() -> None:
    with pytest.raises(errors.Refused, match=r"0000:07:00\.0"):
        planned(case(gpu("07:00.0")))


@pytest.mark.parametrize("line", ["10de:1430", "10de:1430,10de:0fba,1002:1"])
def test_another_list_of_ids_is_refused(line: str) -> None:
    files = {"etc/modprobe.d/vfio.conf": f"options vfio-pci ids={line}\n"}
    with pytest.raises(errors.Refused) as caught:
        planned(case(files=files))
    assert str(caught.value).startswith("/etc/modprobe.d/vfio.conf ")
    assert f"ids={line}" in str(caught.value)
    assert "ids=10de:1430,10de:0fba " in str(caught.value)


def test_the_same_ids_in_another_file_are_accepted() -> None:
    line = "options vfio-pci ids=10de:0fba,10de:1430\n"
    assert rows(planned(case(files={"etc/modprobe.d/vfio.conf": line})))


def test_a_built_in_driver_of_a_target_is_refused() -> None:
    usb = target(function("06:00.2", "10de:1ad8", 0x0C0330), "xhci_pci")
    made = host()
    boot.kernel(made, "6.9.0-1-amd64", "initrd.img-6.9.0-1-amd64")
    made.file(
        "lib/modules/6.9.0-1-amd64/modules.builtin",
        "kernel/drivers/usb/host/xhci-pci.ko\n",
    )
    with pytest.raises(errors.Refused) as caught:
        system = installation(made.tree())
        planned(BindingCase((*CARD, usb), (), system))
    for fact in ("xhci_pci", "6.9.0-1-amd64", "0000:06:00.2"):
        assert fact in str(caught.value)
    assert "--binding address" in str(caught.value)


def test_a_list_on_the_command_line_has_to_be_the_same() -> None:
    """modprobe hands it to the module last, so that it alone takes effect."""
    other = {"/etc/default/grub": ("vfio-pci.ids=10de:1430",)}
    there = dataclasses.replace(case(), configured=other)
    with pytest.raises(errors.Refused, match=r"^/etc/default/grub gives"):
        planned(there)
    same = {"/etc/default/grub": (f"vfio-pci.ids={','.join(IDS)}",)}
    planned(dataclasses.replace(there, configured=same))
    builtin = case(is_vfio_builtin=True)
    plan = planned(dataclasses.replace(builtin, configured=other))
    assert plan.requirements.lists == (("vfio-pci.ids", IDS),)
