"""What an emulated host is made of, and QEMU's words for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_FIRST_SLOT = 0x10
"""Slots of the root bus below this one belong to the host's own devices."""

_NODE_BUS_NUMBERS = 0x20
"""How many bus numbers each node's root bus has for itself."""

_PROCESSORS = "1,maxcpus=2"
"""One processor, and a second that is never plugged in.

With two running processors, one that moves a device's registers makes QEMU
hand an access of the other to the wrong device now and then: an interrupt is
never acknowledged, and the machine stands still.  The empty place makes QEMU
translate for several processors: only then are the guest's memory barriers
real ones, which virtio needs between the guest and QEMU's own threads.
doc/source/contributor/lab.rst tells how this was found.
"""


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card: ``.0`` is its display and ``.1`` its audio."""

    def functions(self, bus: str, slot: int) -> Iterator[str]:
        """Return the ``-device`` values of the card in a slot of ``bus``."""
        yield f"ati-vga,bus={bus},addr={slot:x}.0,multifunction=on"
        yield f"intel-hda,bus={bus},addr={slot:x}.1"


@dataclass(frozen=True, slots=True)
class Other:
    """A function that is no GPU, by the name of QEMU's model."""

    model: str

    def functions(self, bus: str, slot: int) -> Iterator[str]:
        """Return the ``-device`` value of it in a slot of ``bus``."""
        yield f"{self.model},bus={bus},addr={slot:x}.0"


@dataclass(frozen=True, slots=True)
class Port:
    """A PCI Express root port: what it holds is a group of its own."""

    holds: Card | Other
    node: int | None = None

    def devices(self, name: str) -> Iterator[str]:
        """Return the ``-device`` values below the port called ``name``."""
        yield from self.holds.functions(name, 0)


@dataclass(frozen=True, slots=True)
class Bridge:
    """A conventional bridge: all that it holds shares one group with it."""

    holds: tuple[Card | Other, ...]
    node: int | None = None

    def devices(self, name: str) -> Iterator[str]:
        """Return the ``-device`` values below the port called ``name``."""
        yield f"pcie-pci-bridge,id={name}b,bus={name}"
        for slot, held in enumerate(self.holds, 1):
            yield from held.functions(f"{name}b", slot)


@dataclass(frozen=True, slots=True)
class Topology:
    """A host: what is plugged where, and how much of the rest it has.

    :param iommu: QEMU's device that is the IOMMU; empty for none.
    """

    name: str
    slots: tuple[Port | Bridge, ...]
    iommu: str = "intel-iommu,intremap=on,caching-mode=on"
    nodes: int = 1
    memory_mib: int = 3072


SEED = Topology("seed", (Port(Card()), Port(Card()), Port(Card())))
"""Three cards, each of which is a group."""

AMD = Topology("amd", SEED.slots, iommu="amd-iommu,intremap=on")
"""The same with the other maker's IOMMU."""

BARE = Topology("bare", SEED.slots, iommu="")
"""The same without any, as where the firmware has it turned off."""

SHARED = Topology(
    "shared",
    (Bridge((Card(), Card())), Port(Card()), Port(Other("edu"))),
)
"""Two cards that share a group, one alone, and a function that is no GPU."""

NUMA = Topology(
    "numa",
    tuple(Port(Card(), node) for node in (0, 0, 1, 1)),
    nodes=2,
)
"""Four cards, two on each of two NUMA nodes."""


def arguments(topology: Topology) -> tuple[str, ...]:
    """Return QEMU's arguments for the machine and what is plugged in it.

    Disk, network, kernel and console are the runner's and not in it.
    """
    machine = (
        "-machine", "q35,kernel-irqchip=split",
        "-accel", "tcg,thread=multi,tb-size=512",
        "-cpu", "qemu64",
        "-smp", _PROCESSORS,
        "-m", str(topology.memory_mib),
        "-nodefaults", "-display", "none", "-vga", "none",
    )  # fmt: skip
    iommu = ("-device", topology.iommu) if topology.iommu else ()
    return (*machine, *iommu, *_memory(topology), *_devices(topology))


def _memory(topology: Topology) -> Iterator[str]:
    """Return what splits processors and memory among several nodes."""
    if topology.nodes == 1:
        return
    share_mib = topology.memory_mib // topology.nodes
    for node in range(topology.nodes):
        yield from (
            "-object", f"memory-backend-ram,id=m{node},size={share_mib}M",
            "-numa", f"node,nodeid={node},memdev=m{node},cpus={node}",
        )  # fmt: skip


def _devices(topology: Topology) -> Iterator[str]:
    """Return the ``-device`` options of all slots and of their buses."""
    for node in _nodes(topology.slots):
        number = _NODE_BUS_NUMBERS * (node + 1)
        yield "-device"
        root = (
            f"pxb-pcie,id=n{node},bus=pcie.0,addr={_FIRST_SLOT - 1 - node:x}.0"
        )
        yield f"{root},bus_nr={number},numa_node={node}"
    for index, slot in enumerate(topology.slots):
        name, bus = f"p{index}", "pcie.0"
        if slot.node is not None:
            bus = f"n{slot.node}"
        place = f"chassis={index + 1},addr={_FIRST_SLOT + index:x}.0"
        port = f"pcie-root-port,id={name},bus={bus},{place}"
        for device in (port, *slot.devices(name)):
            yield from ("-device", device)


def _nodes(slots: Sequence[Port | Bridge]) -> list[int]:
    """Return the NUMA nodes that slots are on, lowest first."""
    return sorted({slot.node for slot in slots if slot.node is not None})
