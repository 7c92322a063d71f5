"""DevStack's phases on a recorded host, and everything back again.

The functions of DevStack are stand-ins that edit files as DevStack's do.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from oslo_config import cfg

from gpu_passthrough_plugin import conf
from gpu_passthrough_plugin.nova import control_plane, notification
from gpu_passthrough_plugin.nova.control_plane import (
    GROUP_FILTER_PATH,
    NOVAS_FILTERS,
)
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from tests.functional.devstack.node import (
    FILTERS,
    PLUGIN,
    Node,
)
from tests.trees.debian import debian12
from tests.trees.seed import seed

ALIAS = "gpu-10de-1430"
CARDS = ("06:00.0", "82:00.0", "83:00.0")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """One that has everything."""
    return Node(tmp_path / "alone")


def read(node: Node) -> cfg.ConfigOpts:
    """What a service of Nova's reads that is started as by DevStack."""
    options = cfg.ConfigOpts()
    options.register_opts(
        [cfg.MultiStrOpt("device_spec"), cfg.MultiStrOpt("alias")], "pci"
    )
    options.register_opts(
        [
            cfg.MultiStrOpt("available_filters"),
            cfg.ListOpt("enabled_filters"),
            cfg.BoolOpt("pci_in_placement"),
        ],
        "filter_scheduler",
    )
    options.register_opts(
        [cfg.MultiStrOpt("driver")], "oslo_messaging_notifications"
    )
    options.register_opts(notification.OPTS, notification.GROUP)
    options(
        ["--config-file", str(node.nova_conf)],
        default_config_dirs=[str(node.etc / "nova/nova.conf.d")],
    )
    return options


def taken_back(node: Node, **settings: str) -> None:
    node.end("unstack", **settings)
    node.end("clean", **settings)


@pytest.mark.parametrize("mode", ["primary", "full"])
def test_all_phases_and_back(node: Node, mode: str) -> None:
    before = node.files()
    done = node.stack(GPU_PASSTHROUGH_MODE=mode)
    assert done.returncode == 0, done.stderr
    is_full = mode == "full"
    found = read(node)
    specs = found.pci.device_spec
    for card in CARDS:
        assert sum(card[:-1] in spec for spec in specs) == 1 + is_full
    assert len(found.pci.alias) == 1 + is_full
    assert found.filter_scheduler.pci_in_placement
    assert tuple(
        found.filter_scheduler.enabled_filters
    ) == control_plane.filters(
        NovaOptions(mode=Mode(mode)), FILTERS.split(",")
    )
    assert found.filter_scheduler.available_filters == (
        [NOVAS_FILTERS, GROUP_FILTER_PATH] if is_full else None
    )
    flavors = node.calls("openstack")
    assert len(flavors) == 1
    assert f"pci_passthrough:alias={ALIAS}:1" in flavors[0]
    assert "--vcpus 2 --ram 2048 --disk 10" in flavors[0]
    taken_back(node)
    assert node.files() == before
    assert not (node.folder / "enabled").exists()


def test_what_devstack_is_asked_for(node: Node) -> None:
    node.stack()
    asked = [line for line in node.calls() if "openstack" not in line]
    assert asked[:2] == [
        "install_package python3-libvirt",
        f"setup_develop -bindep {PLUGIN}",
    ]
    verbs = [" ".join(line.split()[1:3]) for line in asked[2:]]
    assert verbs == [
        "host disable",
        "host enable",
        "host check",
        "db sync",
        "inventory sync",
        "hook install",
        "libvirtd",
        "daemon-reload",
        "enable gpu-passthrough-agent.service",
        "restart gpu-passthrough-agent.service",
        "nova config",
        "nova check",
    ]


def test_root_has_a_python_of_its_own(node: Node) -> None:
    """Where DevStack's is another user's, who could change the hook."""
    if os.geteuid():
        pytest.skip("only root has files of others")
    os.chown(node.folder / "bin", 1000, -1)
    made = node.folder / "root"
    settings = {"GPU_PASSTHROUGH_VENV": str(made)}
    done = node.stack(**settings)
    assert done.returncode == 0, done.stderr
    wheel = f"{node.folder}/data/gpu-passthrough/wheels/a.whl"
    assert node.calls("pip ") == [
        f"pip wheel --no-deps --wheel-dir {Path(wheel).parent} {PLUGIN}",
        f"{made}/bin/pip install --upgrade -c"
        f" {node.folder}/requirements/upper-constraints.txt {wheel}",
    ]
    assert len(node.calls("hook install")) == 1
    service = node.etc / "systemd/system/gpu-passthrough-agent.service"
    program = f"ExecStart={made}/bin/gpu-passthrough-agent "
    assert program in service.read_text()
    taken_back(node, **settings)
    assert not made.exists()


def test_libvirt_has_a_hook_until_clean(node: Node) -> None:
    node.stack()
    assert (node.etc / "libvirt/hooks/qemu.d/gpu-passthrough").exists()
    # Once is enough: the hook reads the configuration each time.
    node.write_nova_conf()
    node.stack()
    assert len(node.calls("hook install")) == 2
    assert len(node.calls("restart_service libvirtd")) == 1
    node.end("unstack")
    assert (node.etc / "libvirt/hooks/qemu.d/gpu-passthrough").exists()
    node.end("clean")
    assert not (node.etc / "libvirt/hooks/qemu.d/gpu-passthrough").exists()


def test_nova_begins_a_pass_until_clean(node: Node) -> None:
    node.stack()
    units = node.etc / "systemd/system"
    found = read(node)
    drivers = found.oslo_messaging_notifications.driver
    assert sorted(drivers) == ["gpu_passthrough", "messagingv2"]
    marker = Path(found.gpu_passthrough.marker)
    assert marker.parent.is_dir()
    file = node.etc / "gpu-passthrough/gpu-passthrough.conf"
    assert conf.load([str(file)]).agent.nova_marker == str(marker)
    program = f"{node.folder}/bin/gpu-passthrough-agent"
    agent = (units / "gpu-passthrough-agent.service").read_text()
    assert f"\nExecStart={program} --config-file {file}\n" in agent
    assert f"\nReadWritePaths=-{node.folder}/state\n" in agent
    node.end("unstack")
    assert len(list(units.iterdir())) == 1
    drivers = read(node).oslo_messaging_notifications.driver
    assert drivers == ["messagingv2"]
    node.end("clean")
    assert list(units.iterdir()) == []
    assert [line.split(" ", 1)[1] for line in node.calls("systemctl ")] == [
        "daemon-reload",
        "enable gpu-passthrough-agent.service",
        "restart gpu-passthrough-agent.service",
        "disable --now gpu-passthrough-agent.service",
        "daemon-reload",
    ]


def test_units_of_an_earlier_stack_go(node: Node) -> None:
    """One that ran ``inventory sync`` for each touch of the marker."""
    units = node.etc / "systemd/system"
    for kind in ("path", "service"):
        (units / f"gpu-passthrough-reconcile.{kind}").touch()
    node.stack()
    assert len(list(units.iterdir())) == 1
    calls = [line.split(" ", 1)[1] for line in node.calls("systemctl ")]
    assert calls[:2] == [
        "disable --now gpu-passthrough-reconcile.path",
        "stop gpu-passthrough-reconcile.service",
    ]


def test_a_unit_that_is_gone_does_not_stop_clean(node: Node) -> None:
    """As where stack.sh ended before it was there."""
    before = node.files()
    node.stack()
    (node.etc / "systemd/system/gpu-passthrough-agent.service").unlink()
    (node.folder / "bin/systemctl").write_text("#!/bin/bash\nfalse\n")
    taken_back(node)
    assert node.files() == before


def test_a_second_stack_changes_nothing(node: Node) -> None:
    node.stack(GPU_PASSTHROUGH_MODE="full")
    first, flavors = unchanging(node), node.calls("openstack")
    node.write_nova_conf()
    done = node.stack(GPU_PASSTHROUGH_MODE="full")
    assert done.returncode == 0, done.stderr
    assert unchanging(node) == first
    assert node.calls("openstack") == flavors


def unchanging(node: Node) -> dict[str, tuple[int, bytes]]:
    """All files but the ledger, and the hook.

    That one knows when the configuration was written.
    """
    found = node.files()
    del found["etc/libvirt/hooks/qemu.d/gpu-passthrough"]
    del found["state/ledger.sqlite"]
    return found


def test_another_mode_leaves_nothing_of_the_first(node: Node) -> None:
    node.stack(GPU_PASSTHROUGH_MODE="full")
    node.write_nova_conf()
    node.stack()
    found = read(node)
    assert found.filter_scheduler.available_filters is None
    assert "IommuGroupFilter" not in found.filter_scheduler.enabled_filters
    assert len(found.pci.alias) == 1


def test_a_host_that_needs_a_reboot_stops_at_once(node: Node) -> None:
    before = node.files()
    node.show("host", debian12())
    done = node.stack()
    assert done.returncode == 1
    assert "intel_iommu=on" in done.stderr
    assert "reboot if it says so, and run stack.sh again" in done.stderr
    assert node.calls("db sync") == []
    assert read(node).pci.device_spec is None
    # Rebooted, it goes on, and still knows who enabled the host.
    node.show("host", seed())
    done = node.stack()
    assert done.returncode == 0, done.stderr
    taken_back(node)
    assert node.files() == before
    assert not (node.folder / "enabled").exists()


def test_a_host_is_only_checked_when_so_told(node: Node) -> None:
    node.show("host", debian12())
    done = node.stack(GPU_PASSTHROUGH_ENABLE_HOST="False")
    assert done.returncode == 1
    assert "set GPU_PASSTHROUGH_ENABLE_HOST=True" in done.stderr
    assert node.calls("host enable") == []
    node.show("host", seed())
    assert node.stack(GPU_PASSTHROUGH_ENABLE_HOST="False").returncode == 0
    taken_back(node)
    assert node.calls("host disable") == []


def test_what_an_operator_did_before_stays(node: Node) -> None:
    (node.folder / "enabled").touch()
    ours = node.etc / "gpu-passthrough"
    ours.mkdir()
    (ours / "gpu-passthrough.conf").write_text("[DEFAULT]\nhost = mine\n")
    state = node.folder / "state"
    state.mkdir()
    (state / "instances").write_text("of mine")
    before = node.files()
    done = node.stack()
    assert done.returncode == 0, done.stderr
    # Stacked once more, it is not taken for the operator's.
    node.write_nova_conf()
    assert node.stack().returncode == 0
    taken_back(node)
    assert (node.folder / "enabled").exists()
    now = node.files()
    assert now.items() >= before.items()
    assert all(name.startswith("state/") for name in now.keys() - before)


def test_filters_that_somebody_set_since_stay(node: Node) -> None:
    node.stack(GPU_PASSTHROUGH_MODE="full")
    theirs = node.nova_conf.read_text().replace("SameHost", "JsonWeighed")
    node.nova_conf.write_text(theirs)
    node.end("unstack")
    assert node.nova_conf.read_text() == theirs


def test_clean_twice_or_without_a_stack_does_nothing(node: Node) -> None:
    before = node.files()
    taken_back(node)
    node.stack()
    taken_back(node)
    taken_back(node)
    assert node.files() == before


def test_the_service_can_be_disabled(node: Node) -> None:
    before = node.files()
    off = {"DISABLED_SERVICES": "gpu-passthrough"}
    done = node.stack(**off)
    assert done.returncode == 0, done.stderr
    taken_back(node, **off)
    assert node.files() == before
    assert node.calls() == []


@pytest.mark.parametrize("name", ["MODE", "BINDING", "LEDGER"])
def test_a_setting_that_means_nothing(node: Node, name: str) -> None:
    done = node.stack(**{f"GPU_PASSTHROUGH_{name}": "half"})
    assert done.returncode == 1
    assert f"GPU_PASSTHROUGH_{name} is 'half'" in done.stderr
    assert node.calls() == []


def test_a_shared_ledger_needs_a_database(node: Node) -> None:
    done = node.stack(GPU_PASSTHROUGH_LEDGER="shared")
    assert done.returncode == 1
    assert "needs DATABASE_TYPE" in done.stderr


def test_a_select_of_nothing_is_said(node: Node) -> None:
    done = node.stack(GPU_PASSTHROUGH_SELECT="ffff:*")
    assert done.returncode == 1
    assert (
        "ffff:*"
        in (node.etc / "gpu-passthrough/gpu-passthrough.conf").read_text()
    )
    taken_back(node)


def test_nova_is_checked_in_the_end(node: Node) -> None:
    done = node.stack(GPU_PASSTHROUGH_MODE="full")
    assert "does not go with" not in done.stdout
    node.write_nova_conf()
    with node.nova_conf.open("a") as file:
        print('[pci]\ndevice_spec = {"address": "0000:06:00.1"}', file=file)
    done = node.stack()
    assert done.returncode == 0, done.stderr
    assert "Nova's configuration does not go with this node" in done.stdout


def test_an_older_release_is_written_for(node: Node) -> None:
    done = node.stack(GPU_PASSTHROUGH_RELEASE="26")
    assert done.returncode == 0, done.stderr
    assert not read(node).filter_scheduler.pci_in_placement


def test_the_update_wants_devstacks_folder(node: Node) -> None:
    done = node.run("devstack/update_control_plane.sh /nowhere")
    assert done.returncode == 2
    assert "usage" in done.stderr
