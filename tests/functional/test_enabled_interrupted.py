"""Enabling that is cut off, fails or is not let: the host boots on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.functional.lab import enabling
from tests.functional.lab.enabling import (
    OFF,
    differences,
    files,
    is_forgotten,
    run,
)
from tests.functional.lab.host import EmulatedHost
from tests.functional.lab.interrupting import (
    DISABLE,
    ENABLE,
    enabled_and_back,
)

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab


@pytest.mark.rotating
def test_killed_while_an_image_is_built(off_host: EmulatedHost) -> None:
    """What was started goes on, and the next command waits for it."""
    before = files(off_host)
    with off_host.spawn(("gpu-passthrough", *ENABLE)) as running:
        off_host.sh("until pgrep -x mkinitramfs; do sleep 0.2; done")
        off_host.sh("pkill -KILL -f '[/]gpu-passthrough host enable'")
        running.communicate(timeout=60)
    assert off_host.sh("pgrep -x mkinitramfs")
    waited = run(off_host, *ENABLE)
    assert "waiting for a command that an interrupted run" in waited
    off_host.reboot()
    enabled_and_back(off_host, before)


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


@pytest.mark.rotating
@pytest.mark.parametrize(
    "tool", ["/usr/sbin/mkinitramfs", "/usr/sbin/update-grub"]
)
def test_a_tool_that_fails(off_host: EmulatedHost, tool: str) -> None:
    before = files(off_host)
    with failing(off_host, tool, "the moon is full"):
        said = run(off_host, *ENABLE, wanted=2)
        assert f"{tool} ended with exit status 3: the moon is full" in said
        off_host.reboot()
        run(off_host, *DISABLE)
        assert differences(before, files(off_host)) == []
        run(off_host, *ENABLE, wanted=2)
    enabled_and_back(off_host, before)


@pytest.mark.rotating
def test_a_full_boot_is_told_before_anything_is_done(
    off_host: EmulatedHost,
) -> None:
    before = files(off_host)
    off_host.sh(
        "free=$(df --output=avail -B1 /boot | tail -n 1);"
        " fallocate -l $((free - 10000000)) /filler"
    )
    refused = run(off_host, *ENABLE, wanted=1)
    assert "MiB free" in refused
    assert differences(before, files(off_host)) == []
    assert is_forgotten(off_host)
    off_host.sh("rm /filler")
    enabled_and_back(off_host, before)


@pytest.mark.rotating
def test_what_somebody_edits_meanwhile_stays(off_host: EmulatedHost) -> None:
    """An argument beside ours, and a file of ours."""
    run(off_host, *ENABLE)
    before = files(off_host)
    grub, script = "/etc/default/grub", "/etc/modules-load.d/theirs.conf"
    off_host.sh(
        f"sed -i 's/^GRUB_CMDLINE_LINUX=.*intel_iommu=on/& nosmt/' {grub};"
        f" echo loop >{script}; update-grub"
    )
    assert differences(before, files(off_host))
    said = run(off_host, *DISABLE)
    assert f"{grub} was edited since" in said
    text = off_host.get(grub).decode()
    assert "nosmt" in text
    assert OFF in text
    assert "intel_iommu=on" not in text
    assert off_host.get(script) == b"loop\n"
    menu = off_host.get("/boot/grub/grub.cfg").decode()
    assert "nosmt" in menu
    assert OFF in menu
    off_host.reboot()
    assert {OFF, "nosmt"} <= set(enabling.words(off_host))
