"""A recorded host whose functions change drivers."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery import functions, recorded_tree
from gpu_passthrough_plugin.flow import sandbox
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import Binding
from gpu_passthrough_plugin.model.reading import Unknown


def test_a_function_gets_another_driver() -> None:
    """As the kernel shows it: in its link, and in its uevent."""
    tree = recorded_tree.load(recorded_tree.SEED)
    place = address.parse("0000:06:00.0")

    def bind(driver: str | None, override: str | None = None) -> None:
        binding = Binding(driver, override)
        sandbox.bind(tree, place, binding)

    def driver() -> object:
        (function,) = functions.named(tree, [str(place)])
        return function.driver

    folder = f"sys/bus/pci/devices/{place}"
    bind("nouveau")
    assert driver() == "nouveau"
    assert tree.link(f"{folder}/driver") == (
        "../../../../bus/pci/drivers/nouveau"
    )
    names = tree.names("sys/bus/pci/drivers")
    assert not isinstance(names, Unknown)
    assert "nouveau" in names
    there = tree.real(f"sys/bus/pci/drivers/nouveau/{place}")
    assert there == tree.real(folder)
    bind(None)
    assert driver() is None
    assert tree.link(f"{folder}/driver") is None
    bind("vfio-pci", "vfio-pci")
    assert driver() == "vfio-pci"
    assert tree.read(f"{folder}/driver_override") == b"vfio-pci\n"
    # One that is not there is none of this host's.
    absent = address.parse("0000:7f:00.0")
    sandbox.bind(tree, absent, Binding("nouveau", None))
    assert tree.link(f"sys/bus/pci/devices/{absent}") is None
