from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.diagnosis import verify
from gpu_passthrough_plugin.diagnosis.evidence import Case, Confidence
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.diagnosis.examples import EXAMPLES

CASES = [
    case
    for example in EXAMPLES.values()
    for case in (example.case, *example.misses, *example.variants)
]
BEFORE = st.sampled_from(["", "x86: ", "<6>"])


@given(st.sampled_from(CASES), st.integers(0, 9), BEFORE)
def test_that_the_kernel_was_asked_for_an_iommu_changes_no_verdict(
    case: Case, at: int, before: str
) -> None:
    log = case.evidence.log
    assert not isinstance(log, Unknown)
    said = (*log[:at], f"{before}DMAR: IOMMU enabled", *log[at:])
    asked = case._replace(evidence=case.evidence._replace(log=said))
    assert verify.verified(asked) == verify.verified(case)


@given(st.sampled_from(CASES))
def test_a_log_that_is_unknown_proves_nothing(case: Case) -> None:
    lost = Unknown(Why.UNREADABLE, "")
    blind = case._replace(evidence=case.evidence._replace(log=lost))
    empty = case._replace(evidence=case.evidence._replace(log=()))
    assert verify.verified(blind) == verify.verified(empty)


@given(st.sampled_from(CASES))
def test_a_pass_is_on_vfio_pci_in_a_group_and_nothing_was_seen(
    case: Case,
) -> None:
    row = verify.verified(case)
    is_right = row.found.replace("_", "-").endswith("vfio-pci")
    is_seen = any(c.confidence != Confidence.POSSIBLE for c in row.causes)
    is_grouped = isinstance(row.iommu_group, int)
    assert (row.status is Status.PASS) == (
        is_right and is_grouped and not is_seen
    )


@given(st.sampled_from(CASES))
def test_each_cause_is_said_once(case: Case) -> None:
    names = [cause.name for cause in verify.verified(case).causes]
    assert len(set(names)) == len(names)
