"""What a group's drivers have to be, and what the host needs itself."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.compute.hook.unit_states import Decision
from tests.unit.compute.hook.build import (
    AUDIO,
    GPU,
    VF,
    decide,
    group,
    guest,
    ledger,
    record,
    refusal,
    takes,
    vgpu,
)

WHOLE = guest(GPU, AUDIO)


def test_other_groups_have_to_be_viable() -> None:
    """A virtual function of a NIC is in no unit."""
    assert decide(guest(VF), ledger(record()), group(VF)) == Decision()
    shared = group(VF, "0000:05:00.2", drivers="iavf iavf")
    message = refusal(decide(guest(VF), ledger(), shared))
    assert "0000:05:00.2 is on iavf" in message
    both = decide(guest(VF, "0000:05:00.2"), ledger(), shared)
    assert not both.refusals


def test_a_function_that_libvirt_does_not_bind() -> None:
    taker = guest(GPU, AUDIO, is_managed=False)
    members = group(GPU, AUDIO, drivers="nouveau vfio-pci")
    message = refusal(decide(taker, ledger(record()), members))
    assert f"{GPU} is on nouveau" in message
    unbound = group(GPU, AUDIO, drivers="none vfio-pci")
    refusal(decide(taker, ledger(record()), unbound))
    # A vendor's variant of vfio-pci.
    variant = group(GPU, AUDIO, drivers="nvgrace_gpu_vfio_pci vfio-pci")
    assert takes(decide(taker, ledger(record()), variant)) == [GPU]


@pytest.mark.parametrize("vgpu_type", [None, 0, 1120])
def test_a_virtual_gpu_stays_on_its_own_driver(vgpu_type: int | None) -> None:
    """bigstack-oss/cubecos#312: Nova's managed is no for H200's functions.

    The kernel says whether VFIO has it, and not the driver's name.
    """
    taker = guest(VF, is_managed=False)
    vfio = vgpu(is_on_vfio=True, vgpu_type=vgpu_type)
    assert decide(taker, ledger(), (vfio,)) == Decision()
    made = decide(taker, ledger(), (vgpu(vgpu_type=vgpu_type),))
    message = refusal(made)
    assert f"{VF} is on nvidia" in message
    assert "host enable" not in message
    if vgpu_type is not None:
        assert "current_vgpu_type" in message
        assert "managed" not in message


def test_nothing_is_taken_off_a_driver_that_libvirt_does_not_know() -> None:
    """kubevirt/kubevirt#16890, NVIDIA/vgpu-device-manager#195.

    With managed='yes' libvirt binds the function to vfio-pci, and its vGPU
    is gone.
    """
    message = refusal(decide(guest(VF), ledger(), (vgpu(is_on_vfio=True),)))
    for datum in (VF, "nvidia", "managed='no'"):
        assert datum in message
    # A driver of the host's is what managed='yes' is for.
    nic = decide(guest(VF), ledger(), group(VF, drivers="iavf"))
    assert nic == Decision()
    variant = group(GPU, AUDIO, drivers="nvgrace_gpu_vfio_pci vfio-pci")
    made = decide(guest(GPU, AUDIO), ledger(record()), variant)
    assert takes(made) == [GPU]


def test_who_is_no_unit_is_not_sent_to_enable() -> None:
    """kubevirt/kubevirt#7371: a NIC's function that nobody bound."""
    taker = guest(VF, is_managed=False)
    message = refusal(decide(taker, ledger(), group(VF, drivers="iavf")))
    for datum in (VF, "iavf", "managed='yes'"):
        assert datum in message
    assert "host enable" not in message


NEEDED = {VF: f"the host needs {VF} for default route (eno1) over eno1"}


@pytest.mark.parametrize("taken", [(GPU,), (VF,), (GPU, VF)])
@pytest.mark.parametrize("is_managed", [True, False])
def test_a_group_that_the_host_needs_goes_to_no_guest(
    taken: tuple[str, ...], is_managed: bool
) -> None:
    """Nor is a guest with half of it told to give the rest to vfio-pci."""
    shared = group(GPU, VF, drivers="nouveau igb")
    taker = guest(*taken, is_managed=is_managed)
    for book in (ledger(), ledger(record(places=(GPU, VF)))):
        message = refusal(decide(taker, book, shared, unspared=NEEDED))
        for datum in (NEEDED[VF], "IOMMU group 18", *taken):
            assert datum in message
        assert "vfio-pci" not in message
        assert "host enable" not in message
        assert "inventory sync" not in message


def test_a_running_guest_has_what_the_host_needs() -> None:
    """It is recorded: a hook that fails would kill it."""
    made = decide(WHOLE, ledger(record()), unspared={GPU: ""}, is_running=True)
    assert takes(made) == [GPU]
