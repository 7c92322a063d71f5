"""DevStack on several nodes: one that only computes, and a shared ledger."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from gpu_passthrough_plugin.nova.control_plane import GROUP_FILTER_PATH
from tests.functional.devstack.node import COMPUTE, CONTROL, PLUGIN, Node
from tests.functional.test_devstack import read, taken_back

SHARED = {"GPU_PASSTHROUGH_LEDGER": "shared", "DATABASE_TYPE": "mysql"}


def test_a_node_that_only_computes(tmp_path: Path) -> None:
    node = Node(tmp_path / "compute", COMPUTE)
    before, nova = node.files(), node.nova_conf.read_bytes()
    done = node.stack(GPU_PASSTHROUGH_MODE="full")
    assert done.returncode == 0, done.stderr
    assert "does not go with" not in done.stdout
    assert node.nova_conf.read_bytes() == nova
    written = {path.name for path in (node.etc / "nova/nova.conf.d").iterdir()}
    assert written == {
        "gpu-alias.conf",
        "gpu-compute.conf",
        "gpu-notifications.conf",
    }
    assert node.calls("openstack") == []
    taken_back(node)
    assert node.files() == before


def test_one_ledger_for_a_control_plane_and_a_compute_node(
    tmp_path: Path,
) -> None:
    head = Node(tmp_path / "control", CONTROL)
    compute = Node(tmp_path / "compute", COMPUTE)
    settings = {**SHARED, "GPU_PASSTHROUGH_MODE": "full"}
    before = head.files(), compute.files()
    done = head.stack(**settings)
    assert done.returncode == 0, done.stderr
    assert "no node has published" in done.stdout
    assert "recreate_database gpu_passthrough" in head.calls()
    assert head.calls("host ") == []
    assert head.nova_conf.read_text().count("IommuGroupFilter") == 0
    assert head.calls("setup_develop")[0].endswith(f"{PLUGIN} mysql")

    done = compute.stack(**settings)
    assert done.returncode == 0, done.stderr
    assert compute.calls("recreate_database") == []
    conf = compute.etc / "gpu-passthrough/gpu-passthrough.conf"
    assert "root:pa$$s@control/gpu_passthrough" in conf.read_text()
    with sqlite3.connect(tmp_path / "shared.sqlite") as ledger:
        assert ledger.execute("select count(*) from unit").fetchone()

    done = head.update(**settings)
    assert done.returncode == 0, done.stderr
    found = read(head)
    assert found.pci.device_spec is None
    assert found.pci.alias == read(compute).pci.alias
    assert GROUP_FILTER_PATH in found.filter_scheduler.available_filters
    assert "IommuGroupFilter" in found.filter_scheduler.enabled_filters
    assert "restart_service devstack@n-*" in head.calls()
    assert len(head.calls("openstack")) == 1

    for node in (head, compute):
        taken_back(node, **settings)
    assert (head.files(), compute.files()) == before
