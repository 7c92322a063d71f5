"""The sandbox's command blocks print what the documents say they print."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.functional import transcripts
from tests.functional.test_commands import COMMAND
from tests.golden import assert_golden

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = ("README.md", "doc/source/admin/sandbox.rst")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_blocks_are_as_they_say(name: str, tmp_path: Path) -> None:
    path = ROOT / name
    text = transcripts.replayed(path.read_text(), tmp_path, ROOT)
    assert_golden(path, text)


def test_the_demonstration_is_as_it_says() -> None:
    done = subprocess.run(
        (*COMMAND, "demo"), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    told = transcripts.normal(done.stdout.partition("\nFor real")[0])
    text = README.read_text()
    begin = text.index("```console\nThree Quadro") + len("```console\n")
    end = text.index("```", begin)
    assert_golden(README, text[:begin] + told + text[end:])
