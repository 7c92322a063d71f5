"""No advice gives a guest what the host needs."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_passthrough_plugin.diagnosis.causes import catalogue
from gpu_passthrough_plugin.diagnosis.evidence import Case
from gpu_passthrough_plugin.model.group import Reason
from tests.unit.diagnosis.build import case, conf, member
from tests.unit.diagnosis.examples import EXAMPLES
from tests.unit.isolation.values import function, gpu

DISK = function("06:00.1", "15b7:5030", 0x010802, driver="nvme")
NEEDED = Reason(
    "host-critical",
    f"the host needs {DISK.address} for mount / (/dev/nvme0n1p2)",
    "move that to another device first, or leave the group to the host",
)
# What binds a function, or makes something bind it.
STEPS = ("host enable", "ids=", "driver_override", "drivers_probe", "softdep",
         "--select")  # fmt: skip


def refused(of: Case, **fields: Any) -> Case:
    """The same function in a group that the host needs."""
    reasons = {m.address: (NEEDED,) for m in of.evidence.members}
    return of._replace(evidence=of.evidence._replace(reasons=reasons))


def test_a_group_that_grew_by_the_root_disk() -> None:
    """harvester#10499: the advice was to give the disk to vfio-pci."""
    host = case(
        member(gpu(driver="vfio-pci")),
        member(DISK),
        **conf("options vfio-pci ids=10de:1430"),
    )
    one = refused(host._replace(targets=(host.target,)))
    causes = catalogue.causes(one)
    assert "group-shared" in [cause.name for cause in causes]
    for cause in causes:
        assert "15b7:5030" not in cause.fix
        assert not any(step in cause.fix for step in STEPS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_cause_advises_to_bind_what_is_refused(name: str) -> None:
    example = EXAMPLES[name]
    for variant in (example.case, *example.variants):
        for cause in catalogue.causes(refused(variant)):
            if cause.name in catalogue.BINDING:
                assert NEEDED.text in cause.fix
                assert NEEDED.remedy in cause.fix
                assert not any(step in cause.fix for step in STEPS)
