"""The set-up reads bindep.txt as bindep itself does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LISTED = '. tools/setup.sh; debian_packages "$@"'


def lines(*command: str) -> list[str]:
    # bindep's status says whether all of them are installed.
    done = subprocess.run(
        command, cwd=CHECKOUT, check=False, capture_output=True, text=True
    )
    return sorted(done.stdout.split())


@pytest.mark.parametrize(
    "profiles", [(), ("test",), ("lab",), ("test", "lab")]
)
def test_a_profile_names_the_packages_that_bindep_finds(
    profiles: tuple[str, ...],
) -> None:
    bindep = (str(Path(sys.executable).with_name("bindep")), "-l", "newline")
    listed = lines("bash", "-c", LISTED, "setup", *profiles)
    assert "libvirt-dev" in listed
    assert ("qemu-utils" in listed) == ("lab" in profiles)
    assert listed == lines(*bindep, *profiles)
