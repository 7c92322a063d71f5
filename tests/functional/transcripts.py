"""Command blocks of the documentation: run in order, their output compared.

A block is what follows a line of `` ```console `` or ``.. code-block::
console``: lines that begin with ``$``, each with what it prints below.  Its
commands run in one shell, in an empty folder.  What differs from run to run
(UUIDs, times, sizes, the folder) is always the same in the document.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_BEGIN = re.compile(r"^( *)(?:```console|\.\. code-block:: console)$")
_PROMPT = "$ "
_MARK = "\x01"
_SHIM = """\
#!/bin/sh
exec {python} -c '
import sys
from gpu_passthrough_plugin.cli.main import main
sys.exit(main())
' "$@"
"""
_FOLDER = "/home/you"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_BYTES = re.compile(r"\(\d{4,} bytes")
_SPENT = re.compile(r"\[\d+\.\d s\]")


class Block(NamedTuple):
    """Lines of a document.

    :param start: number of the first one.
    """

    start: int
    indent: str
    lines: tuple[str, ...]

    @property
    def commands(self) -> list[str]:
        return [
            line.removeprefix(_PROMPT)
            for line in self.lines
            if line.startswith(_PROMPT)
        ]


def blocks(text: str) -> list[Block]:
    """Return the blocks of a document that have commands."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        match = _BEGIN.match(line)
        if match is None:
            continue
        is_fenced = line.endswith("```console")
        indent = match[1] if is_fenced else f"{match[1]}    "
        start = number + 1 if is_fenced else number + 2
        end = start
        while end < len(lines) and not (
            lines[end].strip() == "```"
            if is_fenced
            else lines[end] and not lines[end].startswith(indent)
        ):
            end += 1
        while not lines[end - 1].strip():
            end -= 1
        body = tuple(each.removeprefix(indent) for each in lines[start:end])
        found.append(Block(start, indent, body))
    return [block for block in found if block.commands]


def replayed(text: str, folder: Path, root: Path) -> str:
    """Return a document whose blocks have what their commands print now.

    :param folder: an empty one.
    :param root: of the checkout, whose recordings the commands may read.
    """
    lines = text.splitlines()
    listed = blocks(text)
    answers = iter(
        _run([c for block in listed for c in block.commands], folder, root)
    )
    shown = []
    for block in listed:
        new: list[str] = []
        for command in block.commands:
            new.append(f"{_PROMPT}{command}")
            new += next(answers).splitlines()
        shown.append([f"{block.indent}{line}".rstrip() for line in new])
    for block, new in reversed(list(zip(listed, shown, strict=True))):
        lines[block.start : block.start + len(block.lines)] = new
    return "\n".join(lines) + "\n"


def _run(commands: list[str], folder: Path, root: Path) -> list[str]:
    """Return what each command prints; all of them run in one shell."""
    home, tools = folder / "home", folder / "bin"
    home.mkdir(mode=0o700)
    tools.mkdir()
    (home / "tests").symlink_to(root / "tests")
    shim = tools / "gpu-passthrough"
    shim.write_text(_SHIM.format(python=sys.executable))
    shim.chmod(0o755)
    script = "shopt -s expand_aliases\n" + "".join(
        f"{command}\nprintf '{_MARK}'\n" for command in commands
    )
    done = subprocess.run(
        ("bash",),
        input=script,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
        env={
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(root),
        },
        check=False,
    )
    answers = done.stdout.split(_MARK)
    assert answers.pop() == ""
    for answer in answers:
        assert not re.search("^gpu-passthrough: ", answer, re.MULTILINE)
    return [normal(answer.replace(str(home), _FOLDER)) for answer in answers]


def normal(text: str) -> str:
    """Return an output with the same UUIDs and times at every run."""
    known: dict[str, str] = {}

    def uuid(match: re.Match[str]) -> str:
        number = len(known) + 1
        return known.setdefault(
            match[0], f"1f75c5d1-bd88-4e1a-a030-{number:012d}"
        )

    text = _TIME.sub("2026-03-02T09:30:00.000Z", _UUID.sub(uuid, text))
    text = _BYTES.sub("(26000 bytes", text)
    return _SPENT.sub("[0.2 s]", text)
