from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.diagnosis import guest_log
from gpu_passthrough_plugin.diagnosis.causes import catalogue
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from tests.golden import assert_golden, sections
from tests.unit.diagnosis.build import case, names
from tests.unit.diagnosis.examples import EXAMPLES
from tests.unit.diagnosis.examples.example import Example

GUIDE = Path(__file__).parents[4] / "doc" / "source" / "admin" / "causes.rst"
RULES = {
    name: rule
    for name, rule in zip(
        catalogue.NAMES,
        (rule for step in catalogue.RULE_SETS for rule in step.rules),
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
    causes = {c.name: c for c in catalogue.causes(example.case)}
    assert name in causes
    cause = causes[name]
    assert cause.confidence is example.confidence
    assert example.evidence in cause.evidence
    assert str(cause) == f"{cause.text} (see causes: {name})"


@BY_NAME
def test_a_message_is_lines_without_a_full_stop(
    name: str, example: Example
) -> None:
    for variant in (example.case, *example.variants):
        (cause,) = [c for c in catalogue.causes(variant) if c.name == name]
        for line in cause:
            assert line and "\n" not in line
        assert not cause.text.endswith(".") and not cause.fix.endswith(".")


def test_golden_messages() -> None:
    text = sections(
        {name: _messages(name, EXAMPLES[name]) for name in catalogue.NAMES}
    )
    assert_golden(Path(__file__).with_name("messages.txt"), text)


def _messages(name: str, example: Example) -> Iterator[str]:
    for variant in (example.case, *example.variants):
        for cause in catalogue.causes(variant):
            if cause.name == name:
                yield (
                    f"{cause.text} [{cause.confidence}]\n"
                    f"  evidence: {cause.evidence}\n"
                    f"  fix: {cause.fix}"
                )


@BY_NAME
def test_cases_that_nearly_do(name: str, example: Example) -> None:
    assert example.misses
    for at, miss in enumerate(example.misses):
        assert name not in names(catalogue.causes(miss)), at


@BY_NAME
def test_a_rule_is_named_as_its_cause_is(name: str, example: Example) -> None:
    cause = RULES[name](example.case)
    assert cause is not None and cause.name == name


def test_each_cause_has_a_section_in_the_guide() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    anchors = re.findall(r"^\.\. _cause-([a-z0-9-]+):$", text, re.MULTILINE)
    assert anchors == [*catalogue.NAMES, *guest_log.NAMES]
    titles = re.findall(r"^([a-z0-9-]+)\n-+$", text, re.MULTILINE)
    assert titles == anchors


def test_steps_come_before_confidence() -> None:
    def cause(name: str, sure: Confidence) -> Cause:
        return Cause(name, sure, "t", "e", "f")

    def first(case: Case) -> Cause:
        return cause("first", Confidence.POSSIBLE)

    def second(case: Case) -> Cause:
        return cause("second", Confidence.CERTAIN)

    step = catalogue.RuleSet((first, second))
    assert names(catalogue._ranked(case(), step)) == ["second", "first"]
    found = names(catalogue.causes(EXAMPLES["ids-incomplete"].case))
    assert found == ["ids-incomplete", "competing-driver"]


def test_on_vfio_pci_only_what_a_guest_would_meet_is_said() -> None:
    for name, example in EXAMPLES.items():
        if example.case.member is None or example.case.is_unbound:
            continue
        steps = [s for s in catalogue.RULE_SETS if RULES[name] in s.rules]
        assert steps[0].is_always, name
