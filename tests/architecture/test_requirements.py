"""One source for each requirement, and the same steps for every runner."""

from __future__ import annotations

import configparser
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[2]
# Debian's, by bindep.txt.
NOT_PYTHONS = {"shellcheck"}


def ini(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(CHECKOUT / name, encoding="utf-8")
    return parser


def items(text: str) -> list[str]:
    """Return the lines of an option that has several."""
    return [line for line in text.split("\n") if line]


def shell(expression: str) -> list[str]:
    """Return the lines that an expression of tools/*.sh prints."""
    done = subprocess.run(
        (
            *("bash", "-c"),
            f". tools/setup.sh; . tools/parts.sh; {expression}",
        ),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def required(lines: Iterable[str]) -> Iterator[str]:
    """Yield the names of distributions, as packaging normalizes them.

    Source: packaging.python.org, "Names and normalization".
    """
    for line in lines:
        stripped = line.partition("#")[0].strip()
        if stripped:
            name = re.split(r"[\[<>=!~; ]", stripped)[0]
            yield re.sub(r"[-_.]+", "-", name).lower()


def files() -> list[str]:
    return [
        "requirements.txt",
        *shell('printf "%s\\n" "${TEST_REQUIREMENTS[@]}"'),
    ]


def test_each_requirement_stands_once() -> None:
    names = [
        name
        for file in files()
        for name in required((CHECKOUT / file).read_text().splitlines())
    ]
    for option in ini("setup.cfg")["extras"].values():
        names += required(items(option))
    assert len(names) > 30
    assert sorted(names) == sorted(set(names))


def test_every_locked_release_has_digests_and_is_allowed() -> None:
    text = (CHECKOUT / "locked-requirements.txt").read_text()
    lines = text.replace("\\\n", " ").splitlines()
    locked = {}
    for line in lines:
        words = line.partition("#")[0].split()
        if words:
            assert any(w.startswith("--hash=sha256:") for w in words), line
            pinned = Requirement(words[0])
            (clause,) = pinned.specifier
            assert clause.operator == "=="
            locked[canonicalize_name(pinned.name)] = clause.version
    for file in ("requirements.txt", "tools/build-requirements.txt"):
        for line in (CHECKOUT / file).read_text().splitlines():
            if not line.partition("#")[0].strip():
                continue
            allowed = Requirement(line.partition("#")[0].strip())
            release = locked[canonicalize_name(allowed.name)]
            assert allowed.specifier.contains(release), line


def test_tox_installs_what_the_script_installs() -> None:
    tox = ini("tox.ini")["testenv"]
    extras = sorted(ini("setup.cfg")["extras"])
    assert items(tox["deps"]) == [
        f"-r{{toxinidir}}/{file}" for file in files()
    ]
    assert sorted(items(tox["extras"])) == extras
    assert shell("extras") == [",".join(ini("setup.cfg")["extras"])]


def test_tox_runs_the_parts_of_the_script() -> None:
    tox = ini("tox.ini")
    called = {}
    for section in tox:
        commands = tox[section].get("commands", "")
        if "run-tests.sh" in commands:
            words = commands.split()
            assert words[:2] == ["{toxinidir}/run-tests.sh", "--no-install"]
            called[section] = words[2]
    parts = shell('printf "%s\\n" "${USUAL[@]}"')
    assert sorted(called.values()) == sorted([*parts, "--all"])
    default = tox["tox"]["env_list"].replace(",", " ").split()
    quick = {
        called[name if name == "testenv" else f"testenv:{name}"]
        for name in ("testenv", *default)
        if name != "py3"
    }
    assert quick == set(shell('printf "%s\\n" "${QUICK[@]}"'))


def test_hooks_use_the_environment_of_the_script() -> None:
    text = (CHECKOUT / ".pre-commit-config.yaml").read_text()
    entries = re.findall(r"entry: (.*)", text)
    assert entries
    listed = set(
        required(
            (CHECKOUT / "tools/requirements.txt").read_text().splitlines()
        )
    )
    assert {"pre-commit", "tox"} <= listed
    for entry in entries:
        runner, tool = entry.split()[:2]
        assert runner == "tools/run.sh"
        assert tool in listed | NOT_PYTHONS
    script = (CHECKOUT / "run-tests.sh").read_text()
    for tool in {entry.split()[1] for entry in entries}:
        assert re.search(rf"\b{tool}\b", script), f"{tool}: a hook only"
