"""Whether a guest's start is refused for what has a device file open."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.flow import driver_uses
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.group import Member, Role
from tests.trees.host import Host

GPU = address.parse("06:00.0")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host where nvidia-smi has a card's device file open."""
    host = Host()
    host.function(str(GPU), "10de:1430", "030000", driver="nvidia")
    host.link("proc/40/fd/3", "/dev/nvidia0")
    host.file("proc/40/comm", "nvidia-smi\n")
    return host.write(tmp_path / "root")


def require_takeable(root: Path) -> None:
    tree = HostTree(str(root))
    functions = discovery.functions(tree)
    members = [Member(f, Role.PRIMARY, None) for f in functions]
    driver_uses.require_takeable(tree, members, {GPU})


def test_what_is_open_for_a_moment_is_waited_for(root: Path) -> None:
    """As nvidia-smi, which some monitoring starts again and again."""
    closing = threading.Timer(0.5, (root / "proc/40/fd/3").unlink)
    closing.start()
    require_takeable(root)
    closing.join()


def test_what_stays_open_is_refused(root: Path) -> None:
    with pytest.raises(errors.Refused, match=r"nvidia-smi \(process 40\)"):
        require_takeable(root)
