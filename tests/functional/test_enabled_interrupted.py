"""Enabling and disabling are killed, and fail, anywhere: the host boots on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.lab import campaign, enabling, product
from tests.functional.lab.enabling import (
    OFF,
    actions,
    asked,
    differences,
    files,
    is_forgotten,
    run,
)
from tests.functional.lab.host import WITHOUT_IOMMU, Boot, EmulatedHost
from tests.functional.lab.topology import SEED

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab

ENABLE = ("host", "enable", "--select", "0000:01:00.0")
DISABLE = ("host", "disable")
# A point takes one and a half minutes.
POINTS = 2


@pytest.fixture
def host(boot: Boot, project_archive: bytes) -> EmulatedHost:
    """A host that boots by itself, and was never enabled."""
    made = boot(SEED, WITHOUT_IOMMU)
    enabling.prepare(made, project_archive, OFF)
    return made


def inside(host: EmulatedHost, **step: Any) -> dict[str, Any]:
    """What one command gave that may be killed."""
    with product.running(host) as ours:
        gave: dict[str, Any] = ours.inside(step)[0]
        return gave


def acts(host: EmulatedHost, argv: tuple[str, ...]) -> list[str]:
    """Every act of a command that is carried out to its end."""
    gave = inside(host, argv=list(argv))
    assert gave["status"] == 0, gave["err"]
    found: list[str] = gave["acts"].split()
    return found


def enabled_and_back(host: EmulatedHost, before: dict[str, str]) -> None:
    """Nothing, when enabling completes and disabling restores."""
    run(host, *ENABLE)
    assert actions(asked(host, *ENABLE, "--dry-run")) == {"keep"}
    run(host, *DISABLE)
    assert differences(before, files(host)) == []
    assert is_forgotten(host)


class Boots:
    """Restarts a host, once for each /boot that it is left with."""

    def __init__(self, host: EmulatedHost) -> None:
        self._host = host
        self._seen: set[str] = set()

    def require(self, where: str) -> None:
        """Nothing, when the host comes up from what is on its disk now.

        The boot loader reads nothing but /boot: one that did boot does.
        """
        found = {
            path: what.split()[-1]
            for path, what in files(self._host).items()
            if path.startswith("/boot/")
        }
        if repr(sorted(found.items())) in self._seen:
            return
        self._seen.add(repr(sorted(found.items())))
        before = self._host.get("/proc/sys/kernel/random/boot_id")
        self._host.reboot()
        now = self._host.get("/proc/sys/kernel/random/boot_id")
        assert now != before, where


def put_right(
    host: EmulatedHost, before: dict[str, str], *, enables: bool
) -> None:
    """Nothing, when disabling restores, right away or after enabling."""
    if enables:
        enabled_and_back(host, before)
        return
    run(host, *DISABLE)
    assert differences(before, files(host)) == []
    assert is_forgotten(host)


def test_enabling_killed_before_any_act(host: EmulatedHost) -> None:
    """Every second one is completed first, the others taken back as is."""
    before, boots = files(host), Boots(host)
    done = acts(host, ENABLE)
    assert {"write", "put", "run", "move"} <= set(done)
    run(host, *DISABLE)
    assert differences(before, files(host)) == []
    for number in campaign.chosen(range(len(done)), POINTS):
        gave = inside(host, argv=list(ENABLE), kill_at=number)
        where = f"before act {number} of {len(done)}, {done[number]}"
        assert gave["status"] == -9, where
        boots.require(where)
        put_right(host, before, enables=number % 2 == 0)


def test_disabling_killed_before_any_act(host: EmulatedHost) -> None:
    before, boots = files(host), Boots(host)
    run(host, *ENABLE)
    done = acts(host, DISABLE)
    assert {"restore", "remove", "move"} <= set(done)
    assert differences(before, files(host)) == []
    for number in campaign.chosen(range(len(done)), POINTS):
        run(host, *ENABLE)
        gave = inside(host, argv=list(DISABLE), kill_at=number)
        where = f"before act {number} of {len(done)}, {done[number]}"
        assert gave["status"] == -9, where
        boots.require(where)
        put_right(host, before, enables=number % 2 == 0)


def test_killed_while_an_image_is_built(host: EmulatedHost) -> None:
    """What was started goes on, and the next command waits for it."""
    before = files(host)
    with host.spawn(("gpu-passthrough", *ENABLE)) as running:
        host.sh("until pgrep -x mkinitramfs; do sleep 0.2; done")
        host.sh("pkill -KILL -f '[/]gpu-passthrough host enable'")
        running.communicate(timeout=60)
    assert host.sh("pgrep -x mkinitramfs")
    waited = run(host, *ENABLE)
    assert "waiting for what an interrupted run left behind" in waited
    host.reboot()
    enabled_and_back(host, before)


@contextlib.contextmanager
def failing(host: EmulatedHost, tool: str, says: str) -> Iterator[None]:
    """A command of the host's that leaves rubbish and fails."""
    rubbish = (
        "#!/bin/sh\n"
        'while [ "$1" != -o ] && [ "$#" -gt 0 ]; do shift; done\n'
        'echo rubbish >"${2:-/boot/grub/grub.cfg.new}"\n'
        f"echo '{says}' >&2\nexit 3\n"
    )
    host.sh(f"mv {tool} {tool}.kept")
    host.put(tool, rubbish.encode(), mode=0o755)
    yield
    host.sh(f"mv {tool}.kept {tool}")


@pytest.mark.parametrize(
    "tool", ["/usr/sbin/mkinitramfs", "/usr/sbin/update-grub"]
)
def test_a_tool_that_fails(host: EmulatedHost, tool: str) -> None:
    before = files(host)
    with failing(host, tool, "the moon is full"):
        said = run(host, *ENABLE, wanted=2)
        assert f"{tool} ended with exit status 3: the moon is full" in said
        host.reboot()
        run(host, *DISABLE)
        assert differences(before, files(host)) == []
        run(host, *ENABLE, wanted=2)
    enabled_and_back(host, before)


def test_a_full_boot_is_told_before_anything_is_done(
    host: EmulatedHost,
) -> None:
    before = files(host)
    host.sh(
        "free=$(df --output=avail -B1 /boot | tail -n 1);"
        " fallocate -l $((free - 10000000)) /filler"
    )
    refused = run(host, *ENABLE, wanted=1)
    assert "MiB free" in refused
    assert differences(before, files(host)) == []
    assert is_forgotten(host)
    host.sh("rm /filler")
    enabled_and_back(host, before)


def test_what_somebody_edits_meanwhile_stays(host: EmulatedHost) -> None:
    """An argument beside ours, and a file of ours."""
    run(host, *ENABLE)
    before = files(host)
    grub, script = "/etc/default/grub", "/etc/modules-load.d/theirs.conf"
    host.sh(
        f"sed -i 's/^GRUB_CMDLINE_LINUX=.*intel_iommu=on/& nosmt/' {grub};"
        f" echo loop >{script}; update-grub"
    )
    assert differences(before, files(host))
    said = run(host, *DISABLE)
    assert f"{grub} was edited since" in said
    text = host.get(grub).decode()
    assert "nosmt" in text
    assert OFF in text
    assert "intel_iommu=on" not in text
    assert host.get(script) == b"loop\n"
    menu = host.get("/boot/grub/grub.cfg").decode()
    assert "nosmt" in menu
    assert OFF in menu
    host.reboot()
    assert {OFF, "nosmt"} <= set(enabling.words(host))
