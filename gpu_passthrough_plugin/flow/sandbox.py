"""A recorded host as a machine to act on: its units, drivers and guests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from gpu_passthrough_plugin import defaults
from gpu_passthrough_plugin.allocation import load
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.host.sandbox_machine import (
    SandboxDevices,
    SandboxMachine,
)
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Binding, Identity
from gpu_passthrough_plugin.model.reading import Unknown, known
from gpu_passthrough_plugin.model.unit import DeviceType, Unit

PACKAGED = recorded_tree.SEED
"""The recording that a sandbox has without any other."""
PACKAGED_HOST = "hyhive"

_DISPLAYS = frozenset({0x03, 0x12})
_DRIVERS = "bus/pci/drivers"
_ALIASES = """\
# What requests may name: the cards of the recorded hosts. Written anew when a
# host is added.
[pci]
"""


def checked_recording(path: str) -> bytes:
    """Return what is in a recording's file.

    :raises Error: when it is not a recording.
    """
    content = recorded_tree.content(path)
    recorded_tree.parse(content, path)
    return content


def units(path: str, host: str) -> tuple[Unit, ...]:
    """Return the units of a recorded host, by its own selection.

    :param path: of the recording.
    """
    tree = recorded_tree.load(path)
    default = tuple(map(selector.parse, defaults.SELECT))
    chosen = host_snapshot.read_selection(
        tree, default, f"{host}: ", is_configured=False
    )
    policy = Policy(chosen.selectors)
    return host_snapshot.read(tree, policy, Scope.PRIMARIES).units(host)


def aliases(units: Iterable[Unit]) -> str:
    """Return a configuration file with a request name for some cards.

    Entries of one name are alternatives, as Nova has it.
    """
    entries = {
        str(
            AliasEntry(
                "gpu" if f.class_code >> 16 in _DISPLAYS else "pci",
                f.vendor_id,
                f.product_id,
                None if f.device_type is DeviceType.PCI else f.device_type,
            )
        )
        for unit in units
        for f in unit.primaries
    }
    lines = (f"alias = {entry}\n" for entry in sorted(entries))
    return _ALIASES + "".join(lines)


def make_ledger(path: str) -> None:
    """Create a ledger in SQLite, or upgrade it."""
    ledger = load.load("sql", LedgerSettings(f"sqlite:///{path}"))
    ledger.sync()
    ledger.close()


def machine(
    recording: str, host: str, state: str
) -> tuple[RecordedTree, SandboxMachine]:
    """Return a recorded host, which shows what was done to it.

    :param recording: its path.
    :param state: path of the file with what was done.
    :raises Error: when either cannot be read.
    """
    tree = recorded_tree.load(recording)
    tree.title = host
    # A driver that could not be read counts as none.
    bindings = {
        f.address: Binding(known(f.driver), None)
        for f in discovery.functions(tree)
    }
    show = functools.partial(bind, tree)
    return tree, SandboxMachine(state, bindings, show)


def devices(
    tree: RecordedTree,
    machine: SandboxMachine,
    require_lock: Callable[[], None],
) -> SandboxDevices:
    """Return what binds, resets and identifies a recorded host's functions.

    :param require_lock: raises when the host's lock was lost.
    """
    listed = discovery.functions(tree)
    return SandboxDevices(
        machine,
        {
            f.address: Identity(
                known(f.vendor_id) or 0, known(f.product_id) or 0
            )
            for f in listed
        },
        {
            f.address: f.iommu_group
            for f in listed
            if isinstance(f.iommu_group, int)
        },
        require_lock,
    )


def bind(tree: RecordedTree, address: Address, binding: Binding) -> None:
    """Show a function with another driver, as the kernel would.

    Source: Linux, drivers/base/dd.c (driver_sysfs_add), drivers/base/core.c
    (dev_uevent), and Documentation/ABI/testing/sysfs-bus-pci.
    """
    folder = tree.real(f"{discovery.DEVICES}/{address}")
    if isinstance(folder, Unknown):
        return
    if isinstance(tree.names(folder), Unknown):
        return
    driver, override = binding
    tree.remove(f"{folder}/driver")
    # A VFIO driver makes it.
    tree.remove(f"{folder}/vfio-dev")
    if driver is not None:
        up = "../" * folder.count("/")
        tree.set_link(f"{folder}/driver", f"{up}{_DRIVERS}/{driver}")
        place = f"sys/{_DRIVERS}/{driver}/{address}"
        up = "../" * (place.count("/") - 1)
        tree.set_link(place, up + folder.removeprefix("sys/"))
    lines = tree.files.get(f"{folder}/uevent", b"").splitlines(keepends=True)
    lines = [line for line in lines if not line.startswith(b"DRIVER=")]
    if driver is not None:
        lines.insert(0, b"DRIVER=%s\n" % driver.encode())
    tree.set_file(f"{folder}/uevent", b"".join(lines))
    shown = override or "(null)"
    tree.set_file(f"{folder}/driver_override", f"{shown}\n".encode())
