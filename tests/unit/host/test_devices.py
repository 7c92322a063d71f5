"""What a plain tree can show of sysfs; the rest is the lab's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.commands import environment
from gpu_passthrough_plugin.host.devices import SysfsDevices
from gpu_passthrough_plugin.host.function_calls import FunctionCalls
from gpu_passthrough_plugin.host.sandbox_machine import RecordedDevices
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import (
    VFIO,
    Binding,
    Identity,
    Rebind,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.trees.host import Host

GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")
DEAD = address.parse("07:00.0")
VIRTUAL = address.parse("06:00.2")
GONE = address.parse("08:00.0")
NOUVEAU = Binding("nouveau", None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    host = Host()
    host.function(
        "0000:06:00.0", "10de:1430", "030000", driver="nouveau", group=18
    )
    host.function("0000:06:00.1", "10de:0fba", "040300", override="vfio-pci")
    host.function(
        "0000:06:00.2", "10de:1431", "030000", physical="0000:06:00.0"
    )
    host.function("0000:07:00.0", "10de:1430", "030000", is_dead=True)
    return host.write(tmp_path)


def sysfs_devices(root: Path) -> SysfsDevices:
    return SysfsDevices(FunctionCalls(str(root / "calls")), str(root))


def attribute(root: Path, place: address.Address, name: str) -> Path:
    return root / "sys/bus/pci/devices" / str(place) / name


def test_bindings(root: Path) -> None:
    devices = sysfs_devices(root)
    assert devices.binding(GPU) == NOUVEAU
    assert devices.binding(AUDIO) == Binding(None, "vfio-pci")
    override = attribute(root, GPU, "driver_override")
    for text, wanted in (("\n", None), ("", None), ("(null)\n", None)):
        override.write_text(text)
        assert devices.binding(GPU).override is wanted


def test_a_function_that_is_gone(root: Path) -> None:
    devices = sysfs_devices(root)
    with pytest.raises(errors.ReadFailed) as caught:
        devices.binding(GONE)
    assert "driver_override: No such file or directory" in str(caught.value)
    assert "0000:08:00.0" in str(caught.value)
    assert devices.identity(GONE) is MISSING


def test_identities(root: Path) -> None:
    devices = sysfs_devices(root)
    assert devices.identity(GPU) == Identity(0x10DE, 0x1430)
    assert devices.identity(AUDIO) == Identity(0x10DE, 0x0FBA)
    assert devices.identity(DEAD) == Identity(0xFFFF, 0xFFFF)


def test_a_virtual_function_answers_without_ids(root: Path) -> None:
    devices = sysfs_devices(root)
    config = attribute(root, VIRTUAL, "config")
    assert config.read_bytes()[:4] == b"\xff" * 4
    assert devices.identity(VIRTUAL) == Identity(0x10DE, 0x1431)
    attribute(root, VIRTUAL, "vendor").write_text("what")
    assert isinstance(devices.identity(VIRTUAL), Unknown)
    config.write_bytes(b"\xff" * 64)
    assert devices.identity(VIRTUAL) == Identity(0xFFFF, 0xFFFF)


def test_a_config_space_that_cannot_be_read(root: Path) -> None:
    config = attribute(root, GPU, "config")
    config.write_bytes(b"\xde\x10\x30")
    devices = sysfs_devices(root)
    assert devices.identity(GPU) == Unknown(Why.MALFORMED, "de1030")
    config.write_bytes(b"")
    assert devices.identity(GPU) == Unknown(Why.MALFORMED, "")
    config.unlink()
    config.mkdir()
    assert devices.identity(GPU) == Unknown(Why.UNREADABLE, "Is a directory")


def test_a_driver_that_is_right_is_only_held(root: Path) -> None:
    devices = sysfs_devices(root)
    devices.rebind(Rebind(GPU, NOUVEAU, Binding("nouveau", "nouveau")))
    override = attribute(root, GPU, "driver_override")
    assert override.read_text().startswith("nouveau\n")
    devices.rebind(Rebind(GPU, Binding("nouveau", "nouveau"), NOUVEAU))
    assert override.read_text().startswith("\n")


def test_the_override_is_set_before_the_driver_is_taken(root: Path) -> None:
    with pytest.raises(errors.Unavailable) as caught:
        sysfs_devices(root).rebind(Rebind(GPU, NOUVEAU, VFIO))
    message = str(caught.value)
    assert message.startswith("cannot write '0000:06:00.0' to ")
    assert message.endswith(
        "/drivers/nouveau/unbind: No such file or directory (ENOENT)"
    )
    override = attribute(root, GPU, "driver_override")
    assert override.read_text().startswith("vfio-pci\n")


def test_each_write_is_logged(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sysfs_devices(root).rebind(
        Rebind(GPU, NOUVEAU, Binding("nouveau", "nouveau"))
    )
    (line,) = caplog.messages
    assert "nouveau" in line and f"{GPU}/driver_override" in line


def test_a_driver_that_does_not_take_the_function(root: Path) -> None:
    pci = root / "sys/bus/pci"
    (pci / "drivers_probe").touch()
    (pci / "drivers/vfio-pci").mkdir(parents=True)
    (pci / "drivers/vfio-pci/bind").touch()
    with pytest.raises(errors.Unavailable) as caught:
        sysfs_devices(root).rebind(Rebind(AUDIO, Binding(None, None), VFIO))
    for datum in ("0000:06:00.1", "no driver", "vfio-pci"):
        assert datum in str(caught.value)
    assert (pci / "drivers_probe").read_text() == "0000:06:00.1"
    assert (pci / "drivers/vfio-pci/bind").read_text() == "0000:06:00.1"


def test_any_driver_of_the_host_may_take_a_function(root: Path) -> None:
    pci = root / "sys/bus/pci"
    (pci / "drivers_probe").touch()
    group = attribute(root, AUDIO, "iommu_group")
    group.symlink_to("../../../kernel/iommu_groups/18")
    override = attribute(root, AUDIO, "driver_override")
    override.write_text("vfio-pci\n")
    sysfs_devices(root).probe(AUDIO)
    assert override.read_text().startswith("\n")
    assert (pci / "drivers_probe").read_text() == "0000:06:00.1"
    # No driver had it.
    assert not list(pci.glob("drivers/*/unbind"))


def test_the_kernel_takes_nothing_from_a_guest(root: Path) -> None:
    group = root / "dev/vfio/18"
    # What cannot be opened may be in use.
    group.mkdir(parents=True)
    with pytest.raises(errors.Unavailable, match="in use is unknown"):
        sysfs_devices(root).probe(GPU)


def test_a_function_without_a_reset(root: Path) -> None:
    with pytest.raises(errors.Unavailable) as caught:
        sysfs_devices(root).reset_function(GPU)
    assert "cannot write '1' to" in str(caught.value)
    assert "(ENOENT)" in str(caught.value)
    attribute(root, GPU, "reset").touch()
    sysfs_devices(root).reset_function(GPU)
    assert attribute(root, GPU, "reset").read_text() == "1"


def test_a_reset_by_one_method_leaves_the_order_as_it_was(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    methods = attribute(root, GPU, "reset_method")
    methods.write_text("flr bus\n")
    with pytest.raises(errors.Unavailable, match="ENOENT"):
        sysfs_devices(root).reset_function(GPU, "flr")
    assert methods.read_text() == "flr bus\n"
    attribute(root, GPU, "reset").touch()
    sysfs_devices(root).reset_function(GPU, "flr")
    assert attribute(root, GPU, "reset").read_text() == "1"
    assert methods.read_text() == "flr bus\n"
    assert [line.split(" to ")[0] for line in caplog.messages[-3:]] == [
        "write 'flr\\n'",
        "write '1'",
        "write 'flr bus\\n'",
    ]
    # Nothing is written where that method is the only one.
    methods.write_text("flr\n")
    caplog.clear()
    sysfs_devices(root).reset_function(GPU, "flr")
    assert len(caplog.messages) == 1


def test_a_reset_that_hangs_leaves_the_order_as_it_was(root: Path) -> None:
    methods = attribute(root, GPU, "reset_method")
    methods.write_text("flr bus\n")
    # To open a pipe that nobody reads waits, as a reset may.
    os.mkfifo(attribute(root, GPU, "reset"))
    calls = FunctionCalls(str(root / "calls"), 2)
    with pytest.raises(errors.Stuck, match="flr reset of "):
        SysfsDevices(calls, str(root)).reset_function(GPU, "flr")
    assert methods.read_text() == "flr bus\n"


def test_a_group_that_nobody_holds(root: Path) -> None:
    devices = sysfs_devices(root)
    devices.require_idle(GPU)
    group = root / "dev/vfio/18"
    group.parent.mkdir(parents=True)
    group.touch()
    devices.require_idle(GPU)


def test_a_group_that_may_be_held_is_not_reset(root: Path) -> None:
    (root / "dev/vfio/18").mkdir(parents=True)
    reset = attribute(root, GPU, "reset")
    reset.touch()
    with pytest.raises(errors.Unavailable, match="in use is unknown"):
        sysfs_devices(root).reset_function(GPU)
    assert reset.read_text() == ""
    with pytest.raises(errors.ReadFailed, match="iommu_group"):
        sysfs_devices(root).require_idle(AUDIO)


def program(folder: Path, script: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "modprobe"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_vfio_pci_is_loaded_where_it_is_not_there(root: Path) -> None:
    there = root / "sys/bus/pci/drivers/vfio-pci"
    program(root / "sbin", f'[ "$*" = vfio-pci ] && /bin/mkdir -p {there}')
    sysfs_devices(root).prepare()
    assert there.is_dir()
    program(root / "sbin", "exit 1")
    sysfs_devices(root).prepare()


def test_modprobe_is_not_the_callers(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    program(tmp_path / "evil", f": >{taken}")
    monkeypatch.setenv("PATH", f"{tmp_path}/evil")
    monkeypatch.setenv("MODPROBE_OPTIONS", "-C /evil")
    shown = tmp_path / "environment"
    program(root / "usr/sbin", f"/usr/bin/env >{shown}")
    sysfs_devices(root).prepare()
    names = {line.partition("=")[0] for line in shown.read_text().split("\n")}
    # A shell adds those of its own.
    own = {"PWD", "SHLVL", "_", "OLDPWD", ""}
    assert names - own == set(environment())
    assert not taken.exists()


def test_vfio_pci_that_cannot_be_loaded(root: Path) -> None:
    program(root / "sbin", "echo 'FATAL:\nnot found' >&2; exit 1")
    with pytest.raises(errors.Unavailable) as caught:
        sysfs_devices(root).prepare()
    assert "FATAL: not found;" in str(caught.value)
    (root / "sbin/modprobe").unlink()
    with pytest.raises(errors.Unavailable, match="modprobe"):
        sysfs_devices(root).prepare()


def test_a_recorded_host_is_acted_on_in_memory_only() -> None:
    was = {GPU: NOUVEAU}
    devices = RecordedDevices(was, {GPU: Identity(0x10DE, 0x1430)})
    devices.prepare()
    with pytest.raises(errors.Refused, match="is not on a VFIO driver"):
        devices.reset_function(GPU)
    with pytest.raises(errors.Refused, match="is not on a VFIO driver"):
        devices.reset_bus(GPU, 18)
    devices.rebind(Rebind(GPU, NOUVEAU, VFIO))
    assert devices.binding(GPU) == VFIO
    devices.reset_function(GPU)
    devices.reset_bus(GPU, 18)
    assert was == {GPU: NOUVEAU}
    assert devices.identity(GPU) == Identity(0x10DE, 0x1430)
    assert devices.identity(GONE) is MISSING
    with pytest.raises(errors.ReadFailed, match="not in the recording"):
        devices.binding(GONE)
