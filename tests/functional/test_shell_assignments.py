"""``formats.shell_assignments`` against the shells that source such files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats import os_release, shell_assignments
from gpu_passthrough_plugin.formats.shell_assignments import Unevaluated

NAMES = ("A", "L", "M")
# Lines that begin, end or interrupt what others mean.
LINES = (
    "", "# L=x", "  # L=x", "\r", 'L="quiet"', 'L=""', "L=", "A=x", 'A="a b"',
    "L='a b'", 'L="$A q"', 'L="${A} q"', 'L="$L b"', 'M="$L"', "A=$L",
    "L=a\\ b", 'L="a \\\n b"', 'L="a\\"b\\\\c\\$d\\q"', 'L="a\\\\\nb"',
    "L=a\\\nb", "L='a\\\nb'", "L=\\", 'L="\\', '"\\', 'L="x" # c', 'L="x";',
    'L="x" ; # c', 'L="x";# c', 'L="x"#c', "L=a#b", '  L="ind"', '\tL="tab"',
    'export L="e"', "export L A", 'L="x"\r', 'L="é ü"', 'L="multi\nline"',
    "L==x", "L= x", "L=x=y", "LL=1", "xL=1", "L=*", "L={a,b}", "L=~", "L=a:~",
    'L="~"', 'L="$"', 'L="a$ b"', "L=$1", 'L="$1"', "L=$HOME", 'L="${A:-b}"',
    "L=$(echo hi)", "L=`echo hi`", 'L="`echo 1`"', 'L="\\`"', 'L="\\$A"',
    "L=\\$A", 'L="$(echo "x")"', "A=`( . /dev/null; echo ${B:-b} )`",
    "A=\"$(sed 's, r .*$,,g' /dev/null)\"", "A=\"$(echo '\"')\"",
    "A=\"$(echo 'b')\"", 'A="`echo "b"`"', 'L="`echo a"', 'L="$(echo #',
    'A="$(cat <<E', ')"', 'A="$((1 + 2))"', 'A="$(echo "$(echo ")")")"',
    'L="a" true', "A=1 L=2", "A=1; L=2", "true; L=b", "L=\"a\"'b'", "L=$A$A",
    "if true; then", "if false; then L=b; fi", "then", "else", "fi", "{", "}",
    "{ L=c; }", "f() {", "f", "function g {", "for L in 1 2; do",
    "while false; do", "do", "done", "case x in", "x) L=c;;", "esac", "(",
    "L=x )", "( L=sub )", "[ -e /none ] && L=b", "[ -e / ] && L=b", "true &&",
    "false ||", "true |", "! true", "unset L", ": ${L:=dflt}",
    ': "${L:=dflt}"', ": ${!L:=x}", "read L </dev/null", "let L=3",
    "declare L=4", "printf -v L 5", "set -- q", ". /dev/null", "eval L=evil",
    "x=L; eval $x=6", 'export "$A=9"', 'unset "$A"', "trap 'L=t' EXIT",
    "alias L=x", "exit", "return 0", "echo L=x", "echo $L", 'echo "$L" a',
    "echo 'L=1'", "true # L=1", 'true # "', "echo a\\", "echo '", 'echo "',
    "cat <<E", "E", "test -n \"$L\" && A=2", ":",
)  # fmt: skip
BASH_LINES = (
    'L+="x"', "L+=y", "L=(a b)", "L+=(c)", "L=(a # )\n'b c' \"d\"e)",
    "M=(x y)", "M=z", 'M+="z"', "L=($A)", "L=(*)", "L=(a\\ b ~)",
    "M=(a${A})", "L=()", "L=(a#b)",
)  # fmt: skip
SHOW = {
    "dash": 'printf "%s\\0" "$A" "$L" "$M"',
    "bash": 'printf "%s\\0" "${A[*]}" "${L[*]}" "${M[*]}"',
}


def sourced(shell: str, path: Path) -> tuple[str, ...] | None:
    """Return the values of ``NAMES``; None where the file ends the shell."""
    done = subprocess.run(
        [
            shell,
            "-c",
            f'. "$1" >/dev/null 2>&1\n{SHOW[shell]}',
            shell,
            str(path),
        ],
        capture_output=True,
        cwd=path.parent,
        env={"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    values = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    return tuple(values[:-1]) if len(values) == len(NAMES) + 1 else None


def is_script(shell: str, path: Path) -> bool:
    done = subprocess.run(
        [shell, "-n", str(path)], capture_output=True, check=False
    )
    return done.returncode == 0


def compare(folder: Path, shell: str, text: str) -> int:
    """Compare all values; return how many are known without a shell."""
    path = folder / "sourced"
    path.write_text(text, newline="")
    # What a shell rejects has no values to compare.
    if not is_script(shell, path):
        return 0
    variables = shell_assignments.evaluate(text)
    known = 0
    for index, name in enumerate(NAMES):
        value = variables.value(name)
        if isinstance(value, Unevaluated):
            continue
        known += 1
        shown = value if isinstance(value, str) else " ".join(value)
        values = sourced(shell, path)
        assert values is not None, text
        # A carriage return before the end of a line is left out, also of
        # an array's first element.
        theirs = values[index].removesuffix("\r").replace("\r ", " ")
        assert shown == theirs, (name, text)
    return known


@pytest.mark.parametrize("shell", SHOW)
def test_each_line(tmp_path: Path, shell: str) -> None:
    lines = (*LINES, *(BASH_LINES if shell == "bash" else ()))
    known = 0
    for line in lines:
        known += compare(tmp_path, shell, f'L="was"\n{line}\nM="$L"\n')
    # Not by knowing nothing.
    assert known > len(lines)


@pytest.mark.parametrize("shell", SHOW)
@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_file(tmp_path: Path, shell: str, data: st.DataObject) -> None:
    choice = (*LINES, *BASH_LINES) if shell == "bash" else LINES
    lines = data.draw(st.lists(st.sampled_from(choice), max_size=6))
    compare(tmp_path, shell, "\n".join(lines) + "\n")


OS_RELEASES = (
    'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n'
    'VERSION_ID="12"\nID=debian\nHOME_URL="https://www.debian.org/"\n',
    'NAME="openSUSE Leap"\nID="opensuse-leap"\nID_LIKE="suse opensuse"\n',
    "NAME='Fedora Linux'\n# a comment\n\nID=fedora\nVARIANT=\"\"\n",
    'ID=pop\nID_LIKE="ubuntu debian"\nANSI_COLOR="0;38;2;60;110;180"\n',
    'NAME="a \\"quoted\\" \\$name \\\\ \\`x\\`"\nID=x-y_z.1\n',
)


@pytest.mark.parametrize("text", OS_RELEASES)
def test_the_fields_of_os_release(tmp_path: Path, text: str) -> None:
    path = tmp_path / "os-release"
    path.write_text(text)
    fields = os_release.fields(text)
    assert fields
    for name, value in fields.items():
        done = subprocess.run(
            ["dash", "-c", f'. "$1"; printf %s "${name}"', "dash", str(path)],
            capture_output=True,
            check=True,
            text=True,
        )
        assert value == done.stdout
