from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpu_passthrough_plugin.diagnosis.causes import catalogue
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from tests.unit.diagnosis.build import case, names
from tests.unit.diagnosis.examples import EXAMPLES
from tests.unit.diagnosis.examples.example import Example

GUIDE = Path(__file__).parents[4] / "doc" / "source" / "admin" / "causes.rst"
RULES = {
    name: rule
    for name, rule in zip(
        catalogue.NAMES,
        (rule for step in catalogue.STEPS for rule in step.rules),
        strict=True,
    )
}
BY_NAME = pytest.mark.parametrize(
    ("name", "example"), EXAMPLES.items(), ids=list(EXAMPLES)
)


def test_each_cause_has_an_example() -> None:
    assert sorted(EXAMPLES) == sorted(catalogue.NAMES)
    assert len(set(catalogue.NAMES)) == len(catalogue.NAMES) >= 20


@BY_NAME
def test_a_case_that_shows_it(name: str, example: Example) -> None:
    found = {c.name: c for c in catalogue.causes(example.shown)}
    assert name in found
    cause = found[name]
    assert cause.confidence is example.confidence
    assert example.said in cause.evidence
    for line in cause:
        assert line and "\n" not in line
    assert not cause.text.endswith(".") and not cause.fix.endswith(".")
    assert str(cause) == f"{cause.text} (see causes: {name})"


@BY_NAME
def test_cases_that_nearly_do(name: str, example: Example) -> None:
    assert example.misses
    for at, miss in enumerate(example.misses):
        assert name not in names(catalogue.causes(miss)), at


@BY_NAME
def test_a_rule_is_named_as_its_cause_is(name: str, example: Example) -> None:
    cause = RULES[name](example.shown)
    assert cause is not None and cause.name == name


def test_each_cause_has_a_section_in_the_guide() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    anchors = re.findall(r"^\.\. _cause-([a-z0-9-]+):$", text, re.MULTILINE)
    assert anchors == list(catalogue.NAMES)
    titles = re.findall(r"^([a-z0-9-]+)\n-+$", text, re.MULTILINE)
    assert titles == anchors


def test_steps_come_before_confidence() -> None:
    def cause(name: str, sure: Confidence) -> Cause:
        return Cause(name, sure, "t", "e", "f")

    def first(of: Case) -> Cause:
        return cause("first", Confidence.POSSIBLE)

    def second(of: Case) -> Cause:
        return cause("second", Confidence.CERTAIN)

    step = catalogue.Step((first, second))
    assert names(catalogue._ranked(case(), step)) == ["second", "first"]
    found = names(catalogue.causes(EXAMPLES["ids-incomplete"].shown))
    assert found == ["ids-incomplete", "competing-driver"]


def test_on_vfio_pci_only_what_a_guest_would_meet_is_said() -> None:
    for name, example in EXAMPLES.items():
        shown = example.shown
        if shown.member is None or shown.is_unbound:
            continue
        steps = [s for s in catalogue.STEPS if RULES[name] in s.rules]
        assert steps[0].is_always, name
