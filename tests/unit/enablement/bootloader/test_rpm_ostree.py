"""rpm-ostree: arguments of the next deployment."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader import rpm_ostree
from gpu_passthrough_plugin.model.change import Action
from tests.trees import redhat
from tests.unit.enablement.bootloader import planning
from tests.unit.enablement.bootloader.planning import ON


def test_wrong_arguments_are_deleted() -> None:
    made = redhat.silverblue()
    made.file(
        "boot/loader/entries/ostree-2.conf",
        "version 2\noptions ro intel_opmmu=on iommu=off\nlinux /v\n",
    )
    (run,) = planning.runs(planning.plan(planning.installed(made), ON))
    tool = ("/usr/bin/rpm-ostree", "kargs")
    assert run.argv == (
        *tool,
        "--append-if-missing=intel_iommu=on",
        "--delete-if-present=intel_opmmu=on",
        "--delete-if-present=iommu=off",
    )
    assert run.undo_argv == (
        *tool,
        "--append-if-missing=intel_opmmu=on",
        "--append-if-missing=iommu=off",
        "--delete-if-present=intel_iommu=on",
    )


def test_a_staged_deployment_with_the_arguments_is_kept() -> None:
    here = planning.system("silverblue")
    staged = {rpm_ostree.STAGED: b"\0\0kargs\0ro\0intel_iommu=on\0\0as\x07"}
    after = here._replace(files={**here.files, **staged})
    (run,) = planning.runs(planning.plan(after, ON))
    assert run.action is Action.KEEP


def test_a_missing_rpm_ostree_is_refused() -> None:
    here = planning.system("silverblue")
    tools = {k: v for k, v in here.tools.items() if k != "rpm-ostree"}
    with pytest.raises(errors.Refused, match="rpm-ostree"):
        planning.plan(here._replace(tools=tools), ON)
