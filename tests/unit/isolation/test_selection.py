"""What a host's selection file says, and when it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.isolation import selection
from gpu_passthrough_plugin.isolation.selection import Source
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.golden import assert_golden

CONFIGURED = (selector.parse("10de:*"),)


def read(
    contents: bytes | Unknown, *, is_set: bool = True
) -> tuple[list[str], Source]:
    found = selection.chosen(
        contents, selection.PATH, CONFIGURED, is_configured=is_set
    )
    return [s.text for s in found.selectors], found.source


def test_the_hosts_file_replaces_what_is_configured() -> None:
    text = b"# mine\n[discovery]\nselect = 0000:06:00.0,\n  class=0302,\n"
    assert read(text) == (["0000:06:00.0", "class=0302"], Source.FILE)
    assert read(b"[discovery]\nselect =\n") == ([], Source.FILE)


@pytest.mark.parametrize("contents", [MISSING, b"", b"# nothing\n[discovery]"])
def test_without_a_selection_of_its_own_it_is_the_configured_one(
    contents: bytes | Unknown,
) -> None:
    assert read(contents) == (["10de:*"], Source.CONFIGURATION)
    assert read(contents, is_set=False) == (["10de:*"], Source.DEFAULT)


FAULTS: dict[str, bytes] = {
    "another option": b"[discovery]\nselect = 10de:*\nexclude = 06:00.0\n",
    "another group": b"[pci]\nalias = x\n",
    "no selector": b"[discovery]\nselect = 10de:*, nvidia, \n",
    "twice": b"[discovery]\nselect = 10de:*\nselect = 1002:*\n",
    "no group": b"select = 10de:*\n",
    "no text": b"\xff\xfe",
    "no INI": b"[[[\nfoo\n",
    "empty selector": b"[discovery]\nselect = 10de:*,,1002:*\n",
    "large": b"#" * (selection.MAX_BYTES + 1),
    "many": b"[discovery]\nselect = " + b"10de:*," * 1025,
}


def test_faults() -> None:
    """Each line names the file; nothing is half read."""
    said = []
    for name, contents in FAULTS.items():
        with pytest.raises(errors.Faults) as caught:
            read(contents)
        assert all(
            f.startswith(f"{selection.PATH}:") and "\n" not in f
            for f in caught.value.faults
        )
        said += [f"[{name}]", *caught.value.faults]
    with pytest.raises(errors.ReadFailed) as unread:
        read(Unknown(Why.UNREADABLE, "Permission denied"))
    said += ["[unreadable]", str(unread.value)]
    text = "\n".join(said) + "\n"
    assert_golden(Path(__file__).with_name("selection.txt"), text)
