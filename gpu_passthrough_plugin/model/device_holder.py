"""Who on the host keeps a driver from letting go of a function: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import printable

# A line that names more of them would not be read.
_MOST_NAMED = 6


class OpenFile(NamedTuple):
    """A process, and a device file of a function that it has open.

    :param process: its name, as the kernel has it.
    :param node: such as ``/dev/snd/controlC1``.
    """

    pid: int
    process: str
    node: str


class DeviceUse(NamedTuple):
    """What uses a function through the driver that it is on.

    :param files: device files of the function that processes have open.
    :param consoles: bound framebuffer consoles that show on it, such as
        ``vtcon1``.
    :param doubts: what could not be read, a line each.
    """

    address: Address
    driver: str
    files: tuple[OpenFile, ...] = ()
    consoles: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def reasons(uses: Iterable[DeviceUse]) -> tuple[str, ...]:
    """Return why functions cannot be taken from their drivers, a line each.

    The kernel waits until everything has let go, and cannot be interrupted.
    Source: Linux, sound/core/init.c (snd_card_free); NVIDIA,
    kernel-open/nvidia/nv-pci.c (nv_pci_remove_helper); kubevirt#8549,
    NVIDIA/open-gpu-kernel-modules#1119, thesofproject/linux#3196.
    """
    return tuple(line for use in uses for line in _reasons(use))


def _reasons(use: DeviceUse) -> Iterator[str]:
    place = f"{use.address} cannot be taken from {use.driver}"
    if use.files:
        nodes = sorted({file.node for file in use.files})
        yield (
            f"{place}: in use by {_processes(use.files)}, open:"
            f" {_listed(nodes)}; stop that, and keep it from opening the card"
        )
    if use.consoles:
        commands = " ".join(
            f"/sys/class/vtconsole/{name}/bind" for name in use.consoles
        )
        yield (
            f"{place}: the host's text console ({_listed(use.consoles)}) is"
            f" shown on it; run 'echo 0 | tee {commands}', or give the host"
            " another display"
        )


def doubts(uses: Iterable[DeviceUse]) -> tuple[str, ...]:
    """Return what is unknown of the uses, a line each, each once."""
    return tuple(dict.fromkeys(line for use in uses for line in use.doubts))


def _processes(files: Sequence[OpenFile]) -> str:
    names = sorted({(file.pid, file.process) for file in files})
    return _listed(f"{printable(name)} (process {pid})" for pid, name in names)


def _listed(values: Iterable[str]) -> str:
    texts = list(values)
    rest = len(texts) - _MOST_NAMED
    named = ", ".join(texts[:_MOST_NAMED])
    return f"{named} and {rest} more" if rest > 0 else named
