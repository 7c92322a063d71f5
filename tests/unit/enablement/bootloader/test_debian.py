"""Debian: what is corrected, and what the drop-in adds."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from tests.trees import debian
from tests.trees.host import Host
from tests.unit.enablement.bootloader import planning
from tests.unit.enablement.bootloader.planning import ON

DEFAULTS, FOLDER = "/etc/default/grub", "/etc/default/grub.d"
OURS = f"{FOLDER}/90-gpu-passthrough.cfg"


def host(text: str) -> Host:
    """Debian 12 with these defaults."""
    made = debian.debian12()
    made.file("etc/default/grub", text)
    return made


def test_the_drop_in_appends() -> None:
    plan = planning.plan(planning.system("debian12"), ON)
    text = planning.writes(plan)[OURS] or ""
    assert text.splitlines()[1:] == [
        'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX intel_iommu=on"'
    ]
    (run,) = planning.runs(plan)
    assert run.touches == ("/boot/grub/grub.cfg",)
    assert run.target == "/usr/sbin/update-grub -o /boot/grub/grub.cfg"


def test_wrong_words_are_corrected_in_place() -> None:
    made = host(
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet iommu=off"\n'
        'GRUB_CMDLINE_LINUX="intel_iommu=off"\n'
    )
    made.file(
        "etc/default/grub.d/50-site.cfg",
        'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX iommu=off"\n',
    )
    assert planning.writes(planning.plan(planning.installed(made), ON)) == {
        DEFAULTS: 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
        'GRUB_CMDLINE_LINUX="intel_iommu=on"\n',
        f"{FOLDER}/50-site.cfg": 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX"\n',
    }


def test_a_drop_in_that_is_not_needed_is_removed() -> None:
    made = host('GRUB_CMDLINE_LINUX="intel_iommu=on"\n')
    made.file(OURS[1:], 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX x"\n')
    plan = planning.plan(planning.installed(made), ON)
    assert planning.writes(plan) == {OURS: None}
    assert planning.argv(plan) == [
        ("/usr/sbin/update-grub", "-o", "/boot/grub/grub.cfg")
    ]


def test_a_later_drop_in_that_overrides_is_refused() -> None:
    made = debian.debian12()
    made.file("etc/default/grub.d/99-site.cfg", 'GRUB_CMDLINE_LINUX="a"\n')
    with pytest.raises(errors.Refused) as refused:
        planning.plan(planning.installed(made), ON)
    assert str(refused.value).startswith(f"{FOLDER}/99-site.cfg ")
    made.file(
        "etc/default/grub.d/99-site.cfg",
        'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX a"\n',
    )
    assert OURS in planning.writes(planning.plan(planning.installed(made), ON))
