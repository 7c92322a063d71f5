from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import os_release
from gpu_passthrough_plugin.model.installation import Installation

LEAP = 'NAME="openSUSE Leap"\nID="opensuse-leap"\nID_LIKE="suse opensuse"\n'


def test_the_fields() -> None:
    text = "# x\nID=debian\nNAME='Debian GNU'\nV=\"12\"\nX=$(y)\n"
    assert os_release.fields(text) == {
        "ID": "debian",
        "NAME": "Debian GNU",
        "V": "12",
    }


@pytest.mark.parametrize(
    ("text", "names", "is_like"),
    [
        (LEAP, ("suse",), True),
        (LEAP, ("sles", "opensuse"), True),
        (LEAP, ("opensuse-leap",), True),
        (LEAP, ("debian",), False),
        ("ID=ubuntu\nID_LIKE=debian\n", ("debian",), True),
        ("NAME=debian\n", ("debian",), False),
        (None, ("debian",), False),
    ],
)
def test_what_a_distribution_is_like(
    text: str | None, names: tuple[str, ...], is_like: bool
) -> None:
    files = {} if text is None else {os_release.PATH: text.encode()}
    installation = Installation(files, {}, {}, {}, ())
    assert os_release.is_like(installation, *names) == is_like
