"""Rules of udev and supergfxd as packages leave them."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import pci_removal
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown, Why

PLACE = address.parse("0000:01:00.1")
# envycontrol#171, the rule for audio; nvidia-prime#15 has the same.
AUDIO = (
    'ACTION=="add", SUBSYSTEM=="pci", ATTR{vendor}=="0x10de",'
    ' ATTR{class}=="0x040300", ATTR{power/control}="auto",'
    ' ATTR{remove}="1"'
)
# SUSEPrime#60, over two lines.
USB = (
    'ACTION=="add", SUBSYSTEM=="pci", ATTR{vendor}=="0x10de", \\\n'
    '  ATTR{class}=="0x0c0330|0x0c8000", ATTR{remove}="1"'
)


def removed(
    path: str, text: str | Unknown, vendor: int = 0x10DE, code: int = 0x040300
) -> list[str]:
    folder, _, name = path.rpartition("/")
    content = text if isinstance(text, Unknown) else text.encode()
    installation = Installation({path: content}, {}, {folder: (name,)}, {}, ())
    return [
        str(removal)
        for removal in pci_removal.removals(installation)
        if removal.covers(PLACE, vendor, code)
    ]


RULES = "/etc/udev/rules.d/50-remove.rules"


def test_a_rule_is_named_with_its_line() -> None:
    assert removed(RULES, f"# Remove audio\n\n{AUDIO}\n") == [
        f"{RULES}:3: {AUDIO}"
    ]


def test_a_rule_over_two_lines_begins_at_its_first() -> None:
    (line,) = removed(RULES, f"{AUDIO}\n{USB}\n", code=0x0C0330)
    assert line.startswith(f"{RULES}:2: ")


@pytest.mark.parametrize(
    "text",
    [
        f"# {AUDIO}",
        AUDIO.replace("10de", "1002"),
        AUDIO.replace("{class}==", "{class}!="),
        AUDIO.replace('ATTR{remove}="1"', 'ATTR{d3cold_allowed}="1"'),
        f'KERNEL=="0000:02:*", {AUDIO}',
        USB,
        Unknown(Why.UNREADABLE, "Permission denied"),
        "",
    ],
)
def test_a_rule_that_removes_others(text: str | Unknown) -> None:
    assert removed(RULES, text) == []


def test_a_rule_by_address() -> None:
    assert removed(RULES, 'KERNEL=="0000:01:00.*", ATTR{remove}="1"')


@pytest.mark.parametrize(
    ("text", "vendor", "is_removed"),
    [
        (
            '{\n  "mode": "Integrated",\n  "vfio_enable": false\n}',
            0x10DE,
            True,
        ),
        ('{"mode": "Integrated"}', 0x8086, False),
        ('{"mode": "Hybrid"}', 0x10DE, False),
        ("[1]", 0x10DE, False),
        ("{", 0x10DE, False),
    ],
)
def test_supergfxd(text: str, vendor: int, *, is_removed: bool) -> None:
    removals = removed(pci_removal.SUPERGFXD, text, vendor)
    assert bool(removals) is is_removed
