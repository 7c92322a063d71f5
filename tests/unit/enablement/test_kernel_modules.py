"""What the host loads, and what is kept from loading."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import kernel_modules
from gpu_passthrough_plugin.enablement.own_files import OwnFile
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Member, Role
from gpu_passthrough_plugin.model.host_facts import HostUse
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.unit.enablement.values import CARD, installed
from tests.unit.isolation.values import (
    Fields,
    audio,
    detail,
    function,
    gpu,
)

KERNELS = installed().kernels


def member(of: Function, **fields: Fields) -> Member:
    return Member(of, Role.PRIMARY, detail(of, **fields))


def blacklisted(
    *others: Member,
    name: str = "nouveau",
    uses: tuple[HostUse, ...] | Unknown = (),
) -> list[str]:
    files = kernel_modules.files(KERNELS, CARD, others, (name,), uses)
    return rows(files, kernel_modules.BLACKLIST)


def rows(files: tuple[OwnFile, ...], path: str) -> list[str]:
    """The lines of one file; none where it should not be there."""
    (text,) = (file.text for file in files if file.path == path)
    lines = (text or "").splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_vfio_is_loaded_in_order() -> None:
    files = kernel_modules.files(KERNELS, CARD, ())
    assert rows(files, "/etc/modules-load.d/gpu-passthrough.conf") == [
        "vfio",
        "vfio_iommu_type1",
        "vfio_pci",
    ]
    assert [file.text is None for file in files] == [False, True, True]


def test_without_targets_nothing_is_loaded() -> None:
    files = kernel_modules.files(KERNELS, (), ())
    assert [file.text for file in files] == [None, None, None]


def test_what_is_built_into_every_kernel_is_not_loaded() -> None:
    builtin = installed(is_vfio_builtin=True).kernels
    files = kernel_modules.files(builtin, CARD, ())
    assert not rows(files, kernel_modules.LOADED)
    older = builtin[0]._replace(builtin=frozenset({"vfio"}))
    files = kernel_modules.files((*builtin, older), CARD, ())
    assert rows(files, kernel_modules.LOADED) == [
        "vfio_iommu_type1",
        "vfio_pci",
    ]


def test_a_blacklist_has_each_driver_once() -> None:
    names = ("snd-hda-intel", "nouveau", "snd_hda_intel")
    files = kernel_modules.files(KERNELS, CARD, (), names)
    assert rows(files, kernel_modules.BLACKLIST) == [
        "blacklist nouveau",
        "blacklist snd_hda_intel",
    ]


def test_every_name_at_fault_is_told() -> None:
    kernel_modules.check_names(("nouveau", "snd-hda-intel"))
    with pytest.raises(errors.Faults) as caught:
        kernel_modules.check_names(("nouveau", "vfio-pci", "a\nb"))
    first, second = caught.value.faults
    assert "'vfio-pci'" in first
    assert "'a\\nb'" in second


@pytest.mark.parametrize(
    ("other", "need"),
    [
        (member(gpu("07:00.0", driver="nouveau")), "uses"),
        (member(gpu("07:00.0"), modules=("nouveau",)), "no other driver"),
        (
            member(gpu("07:00.0"), modules=("nouveau", "vfio_pci")),
            "no other driver",
        ),
        (member(gpu("07:00.0", driver=MISSING)), "unknown"),
        (member(gpu("07:00.0"), modules=MISSING), "unknown"),
        (Member(gpu("07:00.0"), Role.PRIMARY, None), "may"),
    ],
)
def test_a_display_that_stays_keeps_its_driver(
    other: Member, need: str
) -> None:
    with pytest.raises(errors.Refused) as caught:
        blacklisted(other)
    assert str(caught.value).startswith("nouveau ")
    assert "0000:07:00.0" in str(caught.value)
    assert need in str(caught.value)


def test_a_display_whose_drivers_are_all_kept_out() -> None:
    other = member(gpu("07:00.0"), modules=("nouveau", "nvidiafb"))
    names = ("nouveau", "nvidiafb")
    assert blacklisted(other, name="nouveau") == ["blacklist nouveau"]
    with pytest.raises(errors.Refused, match="no other driver"):
        kernel_modules.files(KERNELS, CARD, (other,), names)


def test_a_displays_driver_of_another_name_than_its_module() -> None:
    other = member(gpu("07:00.0", driver="bochs-drm"), modules=("bochs",))
    with pytest.raises(errors.Refused, match=r"bochs.*uses it"):
        blacklisted(other, name="bochs")


@pytest.mark.parametrize(
    "other",
    [
        member(gpu("07:00.0", driver="nvidia"), modules=("nouveau",)),
        member(gpu("07:00.0"), modules=("nouveau", "nvidia")),
        member(gpu("07:00.0"), modules=()),
        member(audio("07:00.1", driver="nouveau")),
    ],
)
def test_a_function_that_does_not_need_the_driver(other: Member) -> None:
    assert blacklisted(other) == ["blacklist nouveau"]


DISK = function("01:00.0", "144d:a80a", 0x010802, driver="nvme")
NIC = function("02:00.0", "8086:1521", 0x020000, driver="igb")
ROOT = HostUse(DISK.address, "mount / (/dev/dm-0)", ("nvme0", "dm-0"))
SWAP = HostUse(DISK.address, "swap (/dev/dm-1)")
ROUTE = HostUse(NIC.address, "default route (eno1)")


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "nvme",
            (
                "0000:01:00.0",
                "mount / (/dev/dm-0) over nvme0, dm-0, swap (/dev/dm-1)",
            ),
        ),
        ("igb", ("0000:02:00.0", "default route (eno1)")),
    ],
)
def test_what_the_host_uses_keeps_its_driver(
    name: str, facts: tuple[str, ...]
) -> None:
    with pytest.raises(errors.Refused) as caught:
        blacklisted(
            member(DISK), member(NIC), name=name, uses=(ROOT, SWAP, ROUTE)
        )
    message = str(caught.value)
    assert message.startswith(f"{name} ")
    assert message.count("cannot be blacklisted") == 1
    for fact in facts:
        assert fact in message


def test_every_function_that_the_host_uses_is_named() -> None:
    second = DISK._replace(address=address.parse("03:00.0"))
    boot = HostUse(second.address, "mount /boot (/dev/nvme1n1p1)")
    with pytest.raises(errors.Refused) as caught:
        blacklisted(
            member(DISK), member(second), name="nvme", uses=(ROOT, boot)
        )
    for fact in ("0000:01:00.0", "0000:03:00.0", "mount /boot"):
        assert fact in str(caught.value)


def test_a_driver_that_only_unused_functions_have_can_be_kept_out() -> None:
    second = DISK._replace(address=address.parse("03:00.0"), driver="other")
    assert blacklisted(
        member(DISK), member(second), name="other", uses=(ROOT,)
    ) == ["blacklist other"]


def test_a_driver_may_be_of_a_module_of_another_name() -> None:
    usb = function("00:14.0", "8086:a36d", 0x0C0330, driver="xhci_hcd")
    stick = HostUse(usb.address, "mount /boot (/dev/sda1)", ("usb1", "sda"))
    of_host = member(usb, modules=("xhci_pci",))
    with pytest.raises(errors.Refused, match=r"0000:00:14\.0.* xhci_hcd"):
        blacklisted(of_host, name="xhci-pci", uses=(stick,))
    assert blacklisted(of_host, name="xhci-pci") == ["blacklist xhci_pci"]
    assert blacklisted(of_host, name="nvme", uses=(stick,)) == [
        "blacklist nvme"
    ]


def test_unknown_uses_keep_the_drivers_of_what_may_carry_the_host() -> None:
    lost = Unknown(Why.UNREADABLE, "mountinfo")
    with pytest.raises(errors.Refused, match=r"0000:01:00\.0.*mountinfo"):
        blacklisted(member(DISK), name="nvme", uses=lost)
    sound = member(audio("07:00.1", driver="snd_hda_intel"))
    assert blacklisted(sound, name="snd_hda_intel", uses=lost) == [
        "blacklist snd_hda_intel"
    ]


def test_names_match_whatever_their_hyphens() -> None:
    other = member(gpu("07:00.0", driver="nvidia-drm"))
    with pytest.raises(errors.Refused, match=r"^nvidia_drm "):
        blacklisted(other, name="nvidia_drm")


def test_unsafe_interrupts_are_allowed_by_an_option_of_vfio() -> None:
    files = kernel_modules.files(
        KERNELS, CARD, (), allows_unsafe_interrupts=True
    )
    assert rows(files, kernel_modules.UNSAFE) == [
        "options vfio_iommu_type1 allow_unsafe_interrupts=1"
    ]
