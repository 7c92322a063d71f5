"""What is known of a shell file without a shell; see tests/functional."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import shell_assignments
from gpu_passthrough_plugin.formats.shell_assignments import (
    Assignment,
    Unevaluated,
    Value,
    Variables,
    evaluate,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("# L=x\n", ""),
        ("L=a\n", "a"),
        ('L="a b"', "a b"),
        ("L='a $b'", "a $b"),
        ('A=x\nL="$A ${A} $B"\n', "x x "),
        ('L="a"\nL+=" b"\n', "a b"),
        ('L+="b"\n', "b"),
        ('L="a\\\\\\"\\$\\`\\q"', 'a\\"$`\\q'),
        ('L="a \\\n  b"\n', "a   b"),
        ("L=a\\ b\\\nc\n", "a bc"),
        ('L="a"\r\n', "a"),
        ("L=(a 'b c' \"d\" # e)\nf\\ g)\n", ("a", "b c", "d", "f g")),
        ("L=(a)\nL+=(b)\n", ("a", "b")),
        ("L+=(b)\n", ("b",)),
        ("if x; then\n  A=1\nfi\nL=a\n", "a"),
        ("L=a\nexport L A\n", "a"),
        ('L=a\necho "$L"\n', "a"),
    ],
)
def test_a_value_that_is_known(text: str, value: Value) -> None:
    assert evaluate(text).value("L") == value


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('L="$(x)"', 'L="$(x)"'),
        ("L=`x`\n", "L=`x`"),
        ("A=$(x)\nL=$A\n", "L=$A"),
        ("L=\"a\"'b'\n", "L=\"a\"'b'"),
        ("L=$HOME\n", "L=$HOME"),
        ("L=~\n", "L=~"),
        ("L=(a *)\n", "L=(a *)"),
        ("L=a\nL+=(b)\n", "L+=(b)"),
        ("if x; then\n  L=a\nfi\n", "L=a"),
        ("x &&\nL=a\n", "L=a"),
        ("x && \\\n  L=a\n", "x && \\ L=a"),
        ("L=a\n: ${L:=b}\n", ": ${L:=b}"),
        ("L=a\nunset L\n", "unset L"),
        # Behind these, nothing is known any more.
        (". x\nL=a\n", ". x"),
        ("f() {\nL=b\n}\nL=a\nf\n", "f() {"),
        ('L="a\nM=b\n', 'L="a'),
        ("cat <<E\nL=a\nE\n", "cat <<E"),
        ("fi\nL=a\n", "fi"),
        ("if x; then\nL=a", "L=a"),
        ("L=a\neval $x\n", "eval $x"),
        ('L=a\nexport "$x"\n', 'export "$x"'),
    ],
)
def test_a_value_that_only_a_shell_can_tell(text: str, line: str) -> None:
    value = evaluate(text).value("L")
    assert isinstance(value, Unevaluated)
    assert value.line.startswith(line)


def test_a_file_is_sourced_after_another() -> None:
    first = evaluate('A="x"\nB=$(y)\n')
    second = evaluate('L="$A z"\nM="$B"\n', first)
    assert second.value("L") == "x z"
    assert second.value("M") == Unevaluated('M="$B"')
    lost = evaluate("L=a\n", Variables(unclear=Unevaluated("exit")))
    assert lost.value("L") == Unevaluated("exit")


def test_what_can_be_edited() -> None:
    text = 'A=$(x)\nL="$A b"\nL=\'$c\'\nL=d\nL="$(y)"\nif z; then L=e; fi\n'
    found = shell_assignments.assignments(text)
    assert [(a.quote, a.body) for a in found] == [
        ('"', "$A b"),
        ("'", "$c"),
        ("", "d"),
    ]
    start = text.index("d")
    assert found[-1] == Assignment("L", False, start, start + 1, "", "d")
    assert shell_assignments.replaced(text, found[-1], "e f") == (
        text.replace("L=d\n", 'L="e f"\n')
    )


def test_an_array_stays_one_when_a_value_is_lost() -> None:
    """Only its first element is assigned to, and the others stay."""
    text = 'L=(a\\ b ~)\nL="$L b"\nL="x"\n'
    assert isinstance(evaluate(text).value("L"), Unevaluated)
    known = 'L=(a b)\nL="$1"\nL="x"\n'
    assert isinstance(evaluate(known).value("L"), Unevaluated)
    command = 'L=(a b)\nL=$(echo hi)\nL="x"\n'
    assert isinstance(evaluate(command).value("L"), Unevaluated)
