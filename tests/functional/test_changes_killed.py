"""A kill at any instant: enabling completes, disabling restores."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.model.change import Action
from tests.functional.bootable import (
    GRUB,
    IDS,
    IMAGE,
    LINE,
    MENU,
    MODULES,
    OTHER_MENU,
    RELEASE,
    Bootable,
    bootable,
    changes_in,
    killed_at,
)

Act = Callable[[Bootable], object]
MINE = "options kvm nested=1\n"
OTHER = b"options vfio-pci ids=1002:5046,8086:2668\n"


def enable(host: Bootable) -> None:
    host.enable()


def enable_other(host: Bootable) -> None:
    host.enable(OTHER)


def disable(host: Bootable) -> None:
    host.disable()


def nothing(host: Bootable) -> None:
    return


def killed(folder: Path, before: Act, act: Act) -> Iterator[Bootable]:
    """One host for each instant at which ``act`` is killed."""
    for number in itertools.count(1):
        host = bootable(folder / str(number))
        before(host)
        if not killed_at(number, functools.partial(act, host)):
            assert number > 20
            return
        yield host
        shutil.rmtree(folder / str(number))


def fresh(folder: Path) -> dict[str, tuple[object, ...]]:
    return bootable(folder / "fresh").snapshot()


def require_bootable(host: Bootable) -> None:
    """A whole image and a whole menu at any time."""
    assert host.text(IMAGE).startswith("image of ")
    assert host.text(MENU).startswith("linux /boot/vmlinuz")
    assert host.text(OTHER_MENU).startswith("linux /boot/vmlinuz")


@pytest.mark.parametrize(
    ("before", "act"),
    [(nothing, enable), (enable, enable_other), (enable, disable)],
)
def test_disabling_restores(tmp_path: Path, before: Act, act: Act) -> None:
    was = fresh(tmp_path)
    for host in killed(tmp_path, before, act):
        require_bootable(host)
        host.disable()
        assert host.snapshot() == was, host.root
        assert host.is_clean()


@pytest.mark.parametrize(
    ("before", "act"),
    [(nothing, enable), (enable, enable_other), (enable, disable)],
)
def test_enabling_completes(tmp_path: Path, before: Act, act: Act) -> None:
    was = fresh(tmp_path)
    for host in killed(tmp_path, before, act):
        host.enable()
        assert changes_in(host.plan()) == [], host.root
        history = host.applier.history()
        assert history is not None
        assert history.is_finished
        assert not history.unfinished
        assert IDS.decode() in host.text(IMAGE)
        require_bootable(host)
        host.disable()
        assert host.snapshot() == was, host.root
        assert host.is_clean()


def edit(host: Bootable) -> None:
    """Enabled; then somebody puts something right behind ours."""
    host.enable()
    text = host.text(GRUB).replace("intel_iommu=on", "intel_iommu=on nosmt")
    host.at(GRUB).write_text(text)
    host.at(MODULES).write_text(host.text(MODULES) + MINE)


@pytest.mark.parametrize("act", [disable, enable_other])
def test_an_edit_survives(tmp_path: Path, act: Act) -> None:
    was = fresh(tmp_path)
    for host in killed(tmp_path, edit, act):
        steps = host.disable()
        # A merge that was made already is no edit to be wary of.
        assert Action.KEEP not in [s.action for s in steps], host.root
        assert host.text(GRUB) == (
            LINE.format(" nosmt") + "GRUB_TIMEOUT=5\n"
        ), host.root
        assert host.text(MODULES) == MINE
        now = host.snapshot()
        del now[GRUB[1:]], now[MODULES[1:]]
        assert now == {p: s for p, s in was.items() if p != GRUB[1:]}
        assert host.is_clean()


# What runs on when whoever started it is gone: it ends its parent, and
# its own work a while later.
_ORPHAN = """#!/bin/sh
[ -e etc/orphaned ] || { : > etc/orphaned; kill -9 $PPID; sleep 0.5; }
"""


@pytest.mark.parametrize(
    ("tool", "left"),
    [
        ("update-grub", "boot menu"),
        ("build", f"build the image of {RELEASE}"),
        ("list", f"list the image of {RELEASE}"),
    ],
)
@pytest.mark.parametrize("act", [enable, disable])
def test_a_command_that_outlives_its_caller_is_waited_for(
    tmp_path: Path, tool: str, left: str, act: Act
) -> None:
    was = fresh(tmp_path)
    host = bootable(tmp_path)
    script = host.text(f"/usr/sbin/{tool}")
    host.write(
        f"/usr/sbin/{tool}", script.replace("#!/bin/sh\n", _ORPHAN), 0o755
    )
    assert killed_at(10**6, host.enable)
    act(host)
    said = [line for line in host.said if line.startswith("waiting for")]
    assert said
    assert said[0].startswith(
        f"waiting for a command that an interrupted run started ({left}): 0 s"
    )
    if act is enable:
        assert changes_in(host.plan()) == []
        host.disable()
    host.at("/etc/orphaned").unlink()
    shutil.copystat(
        tmp_path / f"fresh/root/usr/sbin/{tool}", host.at(f"/usr/sbin/{tool}")
    )
    now = host.snapshot()
    del now[f"usr/sbin/{tool}"], was[f"usr/sbin/{tool}"]
    assert now == was


def test_what_a_killed_command_wrote_is_set_aside(tmp_path: Path) -> None:
    """It may be the tool's; it may be somebody's: nobody can tell."""
    host = bootable(tmp_path)
    was = host.text(MENU)
    script = host.text("/usr/sbin/update-grub")
    host.write("/usr/sbin/update-grub", f"{script}kill -9 $PPID\n", 0o755)
    assert killed_at(10**6, host.enable)
    written = host.text(MENU)
    assert "intel_iommu=on" in written
    host.disable()
    assert host.text(MENU) == was
    (aside,) = (host.state / "enablement/set-aside").iterdir()
    assert aside.read_text() == written
    assert str(aside) in "\n".join(host.said)
