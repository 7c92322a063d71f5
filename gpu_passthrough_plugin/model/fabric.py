"""Which NVLink fabric connects a host's GPUs, and who controls it.

Source: NVIDIA, Fabric Manager User Guide, "Virtualization Models".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.function import (
    NVIDIA,
    VFIO_PCI,
    Function,
)
from gpu_passthrough_plugin.model.reading import Unknown

MANAGER_PATH = "/usr/share/nvidia/nvswitch/fabricmanager.cfg"
"""The configuration of Fabric Manager, as NVIDIA's packages install it."""
BARE_METAL, SHARED, VGPU = 0, 1, 2
"""Values of ``FABRIC_MODE`` there."""

# Source: pci.ids.
_GENERATIONS = {0x1AC0: "first", 0x1AC2: "first", 0x1AF1: "second",
                0x22A3: "third"}  # fmt: skip
_MODES = {
    BARE_METAL: "for programs of the host, or one guest with all of it",
    SHARED: "for guests that share the NVSwitches",
    VGPU: "for vGPUs",
}
# GPUs on SXM boards are 3D controllers.
_CONTROLLER_3D = 0x030200


class Fabric(NamedTuple):
    """NVSwitches and the GPUs between which they switch, by address."""

    switches: tuple[Function, ...]
    gpus: tuple[Function, ...]

    def __str__(self) -> str:
        """Return such as ``4 NVSwitches (third generation: …), 8 GPUs (…)``.

        With the address of each.
        """
        count = len(self.switches)
        kind = _generation(self.switches)
        return (
            f"{count} {'NVSwitch' if count == 1 else 'NVSwitches'}"
            f" ({f'{kind} generation: ' if kind else ''}"
            f"{addresses(self.switches)}), {len(self.gpus)}"
            f" {'GPU' if len(self.gpus) == 1 else 'GPUs'}"
            f" ({addresses(self.gpus)})"
        )

    @property
    def given(self) -> tuple[Function, ...]:
        """The NVSwitches that vfio-pci has: Fabric Manager has them not."""
        return tuple(s for s in self.switches if s.driver == VFIO_PCI)


def fabric(functions: Iterable[Function]) -> Fabric | None:
    """Return the fabric of a host; None without any NVSwitch.

    Systems whose switches are no PCI functions of the host, such as HGX B200
    and GB200, have none here.
    """
    functions = sorted(functions, key=lambda f: f.address)
    switches = tuple(f for f in functions if f.is_nvswitch)
    if not switches:
        return None
    return Fabric(switches, tuple(f for f in functions if is_member(f)))


def is_member(function: Function) -> bool:
    """Return whether it is a GPU that a fabric may connect."""
    return (
        function.vendor_id == NVIDIA and function.class_code == _CONTROLLER_3D
    )


def addresses(functions: Sequence[Function]) -> str:
    """Return the functions' addresses, separated by commas."""
    return ", ".join(str(f.address) for f in functions)


def mode_description(mode: int | Unknown | None) -> str:
    """Return how Fabric Manager is configured.

    :param mode: ``FABRIC_MODE``; None where it is not installed.
    """
    if mode is None:
        return f"no Fabric Manager on this host ({MANAGER_PATH} is missing)"
    if isinstance(mode, Unknown):
        return f"how Fabric Manager is configured is unknown: {mode}"
    purpose = _MODES.get(mode, "in a way that is not known here")
    return f"Fabric Manager is configured {purpose} (FABRIC_MODE={mode})"


def _generation(switches: Iterable[Function]) -> str:
    for switch in switches:
        product = switch.product_id
        if not isinstance(product, Unknown) and product in _GENERATIONS:
            return _GENERATIONS[product]
    return ""
