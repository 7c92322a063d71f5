"""SUSE: entries made by sdbootutil."""

from __future__ import annotations

from tests.trees import suse
from tests.unit.enablement.bootloader import planning
from tests.unit.enablement.bootloader.planning import ON


def test_entries_of_older_snapshots_are_kept() -> None:
    plan = planning.plan(planning.installed(suse.tumbleweed()), ON)
    (run,) = planning.runs(plan)
    folder = "/boot/efi/loader/entries/opensuse-6.14"
    assert run.touches == (
        f"{folder}.1-1-default-2.conf",
        f"{folder}.4-1-default-2.conf",
    )
    made = suse.tumbleweed()
    made.file("etc/kernel/cmdline", "root=x intel_iommu=on\n")
    for name in run.touches:
        made.file(
            name[1:],
            "version 2@6.14\noptions root=x intel_iommu=on\nlinux /v\n",
        )
    plan = planning.plan(planning.installed(made), ON)
    assert planning.argv(plan) == []
