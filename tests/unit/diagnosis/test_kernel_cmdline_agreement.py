"""Discovery, enable and verify read one kernel command line alike."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis.causes import catalogue
from gpu_passthrough_plugin.discovery.facts import facts as host_facts
from gpu_passthrough_plugin.enablement.iommu import Intel
from gpu_passthrough_plugin.formats.kernel_cmdline import is_satisfied, split
from gpu_passthrough_plugin.formats.kernel_cmdline_edit import edit_text
from gpu_passthrough_plugin.isolation.iommu import absence
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees.host import Host
from tests.unit.diagnosis.build import ungrouped

REQUIRED = Intel().requirements(passthrough=False)
LINES = (
    # line, whether it turns the IOMMU on, the cause where it does not.
    ('dyndbg="file foo.c iommu=off +p" intel_iommu=on', True, ""),
    ('x="a b -- c" intel_iommu=on', True, ""),
    ("intel-iommu=on", True, ""),
    ('"intel_iommu=on"', True, ""),
    ('x="a intel_iommu=on', False, "argument-missing"),
    ("quiet -- intel_iommu=on", False, "argument-missing"),
    ("xintel_iommu=on", False, "argument-missing"),
    ("intel_iommuu=on", False, "argument-misspelt"),
    ("intel_iommu", False, "argument-misspelt"),
    ("Intel_IOMMU=on", False, "argument-misspelt"),
    ("iommu=1", False, "argument-misspelt"),
    ("iommu=on", False, "argument-misspelt"),
    ("intel_iommu=on iommu=off", False, "iommu-off"),
    ("intel_iommu=on intel_iommu=off", False, "argument-overridden"),
)


@pytest.mark.parametrize(("line", "is_on", "cause"), LINES)
def test_all_readers_agree(line: str, is_on: bool, cause: str) -> None:
    host = Host()
    host.file("proc/cmdline", f"{line}\n")
    words = host_facts(host.tree()).kernel_arguments
    assert not isinstance(words, Unknown)
    assert words == split(line)
    assert is_satisfied(words, REQUIRED) is is_on
    case = ungrouped(kernel_arguments=words)
    names = {
        "argument-misspelt",
        "argument-missing",
        "argument-overridden",
        "iommu-off",
    } & {explained.name for explained in catalogue.causes(case)}
    assert names == ({cause} if cause else set())
    edited = edit_text(line, REQUIRED).text
    assert is_satisfied(split(edited), REQUIRED)
    assert (edited == line) is is_on
    # What isolation prints names the word that verify names.
    reason = absence(case.evidence.facts).text
    if cause == "argument-misspelt":
        assert line in reason
