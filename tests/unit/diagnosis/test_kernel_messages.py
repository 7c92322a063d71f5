"""Each message of the kernel that matters is read by a cause, or said why not.

What a cause reads has to be in recordings and reports too, so the filter of
the log is held to the same list.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from gpu_passthrough_plugin.diagnosis.causes import catalogue
from gpu_passthrough_plugin.diagnosis.evidence import Case
from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.model.function import PhysicalFunction
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from tests.unit.diagnosis.build import (
    UNGROUPED,
    WORD,
    bound,
    case,
    evidence,
    found,
    member,
    names,
    target,
    told,
)
from tests.unit.diagnosis.examples.iommu_startup import unisolated
from tests.unit.isolation.values import function, gpu

PLACES = {"HERE": "0000:06:00.0", "PORT": "0000:00:02.0",
          "PHYSICAL": "0000:06:00.0"}  # fmt: skip
GRAPHICS = function("00:02.0", "8086:3e92", 0x030000, iommu_group=None)
CONFIGURED = found({"/etc/modprobe.d/vfio.conf": "# options of vfio\n"})
TABLE = tomllib.loads(
    Path(__file__)
    .with_name("kernel_messages.toml")
    .read_text(encoding="utf-8")
)
ROWS = [row for rows in TABLE.values() for row in rows]


def lines(row: Mapping[str, str | list[str]]) -> tuple[str, ...]:
    text = row["text"]
    whole = "\n".join([text] if isinstance(text, str) else text)
    for word, place in PLACES.items():
        whole = whole.replace(word, place)
    return tuple(whole.splitlines())


def host(kind: str, log: Sequence[str]) -> Case:
    """A function's case on a host of one kind, with this log."""
    log = tuple(log)
    if kind == "unbound":
        return case(log=log, installation=CONFIGURED)
    if kind in ("ungrouped", "amd"):
        vendor = CpuVendor.AMD if kind == "amd" else CpuVendor.INTEL
        fields = told(*WORD, log=log)
        table = {"IVRS" if kind == "amd" else "DMAR"}
        fields["facts"] = fields["facts"]._replace(
            cpu_vendor=vendor, acpi_tables=frozenset(table)
        )
        return case(*UNGROUPED, **fields)
    if kind == "graphics":
        return case(member(GRAPHICS), *bound(), log=log)
    if kind == "arm":
        made = unisolated(cpu_vendor=CpuVendor.ARM, hypervisor=None)
        return made._replace(evidence=made.evidence._replace(log=log))
    if kind == "missing":
        gone = target(gpu())
        return Case(gone, None, evidence(log=log), (gone,))
    if kind == "virtual":
        physical = member(gpu(), sriov=PhysicalFunction(32, 0))
        gone = target(function("06:00.4", "10de:1430", 0x030000))
        return Case(gone, None, evidence(physical, log=log), (gone,))
    assert kind == "bound"
    return case(*bound(), log=log)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["text"])[:40])
def test_what_is_made_of_a_message(row: dict[str, str]) -> None:
    log = lines(row)
    kind = row.get("host", "bound")
    silent = catalogue.causes(host(kind, ()))
    causes = catalogue.causes(host(kind, log))
    if "why" in row:
        assert row["why"] and "cause" not in row
        assert causes == silent
        return
    cause = {c.name: c for c in causes}[row["cause"]]
    assert cause.evidence in log
    assert len(kernel_log.relevant([cause.evidence])) == 1
    assert row["cause"] in names(
        catalogue.causes(host(kind, kernel_log.relevant(log)))
    )


def test_every_cause_that_reads_the_log_is_on_the_list() -> None:
    """So that a pattern that nothing shows is noticed."""
    listed = {row.get("cause") for row in ROWS}
    assert {
        "d3cold", "gone", "not-covered", "rmrr", "framebuffer",
        "interrupt-remapping", "acs-override", *(
            rule.__name__.replace("_", "-")
            for rule_set in catalogue.RULE_SETS
            for rule in rule_set.rules
            if rule.__module__.endswith(".log_events")
        ),
    } <= listed  # fmt: skip
