"""What has functions open through the drivers that they are on.

A function's device files are those that sysfs has below it; processes are
looked through for them.  What is unread is told, and is no answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator

from gpu_passthrough_plugin.discovery.functions import DEVICES
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.device_holder import DeviceUse, OpenFile
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, as_text

# The folders of a function's device files, by their class.  Source: Linux,
# drivers/gpu/drm/drm_sysfs.c, sound/sound_core.c,
# drivers/video/fbdev/core/fbsysfs.c, drivers/accel/drm_accel.c.
_CLASSES = ("drm", "sound", "graphics", "accel")
# i2c_del_adapter waits for the device file of an adapter to be closed.
# Source: Linux, drivers/i2c/i2c-core-base.c.
_I2C = re.compile(r"i2c-[0-9]+")
_NODE = re.compile(rb"^DEVNAME=(\S+)$", re.MULTILINE)
_FRAMEBUFFER = re.compile(r"fb([0-9]+)")
_CONSOLES = "sys/class/vtconsole"
# Source: NVIDIA driver README, "/proc interface".
_NVIDIA = "proc/driver/nvidia/gpus"
_NVIDIA_MINOR = re.compile(r"^Device Minor:\s*([0-9]+)\s*$", re.MULTILINE)
_NVIDIA_NODE = re.compile(r".*/dev/nvidia[0-9]+", re.DOTALL)
# Source: Linux, drivers/gpu/drm/amd/amdkfd/kfd_topology.c.
_KFD = "sys/class/kfd/kfd/topology/nodes"
_LOCATION = re.compile(r"^(location_id|domain) ([0-9]+)$", re.MULTILINE)

_MAX_FILES = 1 << 18
_NAME_BYTES = 64


def read(
    tree: Tree,
    drivers: Iterable[tuple[Address, str]],
    limit_s: float,
) -> tuple[DeviceUse, ...]:
    """Return what uses functions through their drivers, in the order given.

    :param drivers: functions, each with the driver that it is on.
    :param limit_s: how long processes are looked through; what is left then
        is told as unread.
    """
    drivers = tuple(drivers)
    nodes = {
        address: _nodes(tree, address, driver) for address, driver in drivers
    }
    names = {node for own in nodes.values() for node in own}
    files, doubts = _open_files(tree, names, limit_s) if names else ((), ())
    return tuple(
        DeviceUse(
            address,
            driver,
            tuple(
                file
                for file in files
                if any(_is_node(file.node, node) for node in nodes[address])
            ),
            _consoles(tree, address),
            doubts if nodes[address] else (),
        )
        for address, driver in drivers
    )


def _nodes(tree: Tree, address: Address, driver: str) -> set[str]:
    """Return the paths of a function's device files.

    ``/dev/nvidia*`` stands for each GPU's, where its number is unknown.
    """
    folder = f"{DEVICES}/{address}"
    nodes = set(_below(tree, folder))
    if driver == "nvidia":
        information = text(tree, f"{_NVIDIA}/{address}/information")
        minor = isinstance(information, str) and _NVIDIA_MINOR.search(
            information
        )
        nodes.add(f"/dev/nvidia{minor[1] if minor else '*'}")
    if driver == "amdgpu" and _has_kfd(tree, address):
        nodes.add("/dev/kfd")
    return nodes


def _is_node(path: str, node: str) -> bool:
    """Return whether a process has a device file open by a path.

    It may be another ``/dev``, such as that of a driver's container below
    ``/run``.  Source: kubernetes-sigs/dra-driver-nvidia-gpu#1037.
    """
    if node.endswith("*"):
        return _NVIDIA_NODE.fullmatch(path) is not None
    return path.endswith(node)


def _below(tree: Tree, folder: str) -> Iterator[str]:
    """Yield the device files of a function's class devices, two levels deep.

    A sound card's are below the card, those of a display's connectors below
    the display.
    """
    for name in _names(tree, folder):
        if _I2C.fullmatch(name):
            yield f"/dev/{name}"
    for kind in _CLASSES:
        for name in _names(tree, f"{folder}/{kind}"):
            device = f"{folder}/{kind}/{name}"
            yield from _node(tree, device)
            for below in _names(tree, device):
                yield from _node(tree, f"{device}/{below}")
                for deep in _names(tree, f"{device}/{below}"):
                    if _I2C.fullmatch(deep):
                        yield f"/dev/{deep}"


def _node(tree: Tree, device: str) -> Iterator[str]:
    uevent = tree.read(f"{device}/uevent")
    match = None if isinstance(uevent, Unknown) else _NODE.search(uevent)
    if match:
        yield f"/dev/{as_text(match[1])}"


def _names(tree: Tree, folder: str) -> tuple[str, ...]:
    names = tree.names(folder)
    return () if isinstance(names, Unknown) else names


def _has_kfd(tree: Tree, address: Address) -> bool:
    location = address.bus << 8 | address.slot << 3 | address.function
    for name in _names(tree, _KFD):
        properties = text(tree, f"{_KFD}/{name}/properties")
        if isinstance(properties, Unknown):
            continue
        values = {k: int(v) for k, v in _LOCATION.findall(properties)}
        if (values.get("domain", 0), values.get("location_id")) == (
            address.domain,
            location,
        ):
            return True
    return False


def _consoles(tree: Tree, address: Address) -> tuple[str, ...]:
    """Return the bound consoles that show on a function's framebuffer.

    They are on the first framebuffer unless ``fbcon=map:`` says otherwise.
    Source: Linux, Documentation/fb/fbcon.rst.
    """
    own = {
        int(match[1])
        for name in _names(tree, f"{DEVICES}/{address}/graphics")
        if (match := _FRAMEBUFFER.fullmatch(name))
    }
    numbers = {
        int(match[1])
        for name in _names(tree, "sys/class/graphics")
        if (match := _FRAMEBUFFER.fullmatch(name))
    }
    cmdline = text(tree, "proc/cmdline")
    is_mapped = isinstance(cmdline, str) and "fbcon=map:" in cmdline
    if not own or (min(numbers | own) not in own and not is_mapped):
        return ()
    return tuple(
        name
        for name in _names(tree, _CONSOLES)
        if text(tree, f"{_CONSOLES}/{name}/bind") == "1"
        and "frame buffer" in str(text(tree, f"{_CONSOLES}/{name}/name"))
    )


def _open_files(
    tree: Tree, nodes: Collection[str], limit_s: float
) -> tuple[tuple[OpenFile, ...], tuple[str, ...]]:
    """Return the open files among ``nodes``, and what could not be read."""
    deadline = time.monotonic() + limit_s
    pids = [name for name in _names(tree, "proc") if name.isdecimal()]
    files: list[OpenFile] = []
    unread: list[str] = []
    count = 0
    for pid in pids:
        if count > _MAX_FILES or time.monotonic() > deadline:
            unread.append("too many open files to look through")
            break
        folder = f"proc/{pid}/fd"
        names = tree.names(folder)
        if isinstance(names, Unknown):
            if names != MISSING:
                unread.append(f"process {pid}: {names.detail}")
            continue
        count += len(names)
        targets = tree.gather(folder, (), names)[1]
        unread += [
            f"process {pid}: {t.detail}"
            for t in targets
            if isinstance(t, Unknown)
        ][:1]
        held = {
            target
            for target in targets
            if isinstance(target, str)
            and any(_is_node(target, node) for node in nodes)
        }
        if held:
            name = _process(tree, pid)
            files += [OpenFile(int(pid), name, node) for node in sorted(held)]
    if not pids:
        unread.append("/proc has no processes")
    return tuple(files), _doubts(unread)


def _doubts(unread: list[str]) -> tuple[str, ...]:
    if not unread:
        return ()
    more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
    return (
        "whether a process has the card open is unknown"
        f" ({unread[0]}{more}); see 'fuser -v' on its files in /dev",
    )


def _process(tree: Tree, pid: str) -> str:
    name = tree.read(f"proc/{pid}/comm", _NAME_BYTES)
    return "?" if isinstance(name, Unknown) else as_text(name).rstrip("\n")
