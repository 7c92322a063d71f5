"""What enabling a host changes, in which order, and what it needs again."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import plan as planning
from gpu_passthrough_plugin.enablement.binding.address import AddressBinding
from gpu_passthrough_plugin.enablement.binding.ids import IdsBinding
from gpu_passthrough_plugin.enablement.bootloader.debian import Debian
from gpu_passthrough_plugin.enablement.bootloader.proxmox import Proxmox
from gpu_passthrough_plugin.enablement.driver import Drivers
from gpu_passthrough_plugin.enablement.initramfs.initramfs_tools import (
    InitramfsTools,
)
from gpu_passthrough_plugin.enablement.iommu import Amd, Intel
from gpu_passthrough_plugin.enablement.plan import DesiredState, HostPlan
from gpu_passthrough_plugin.model.change import (
    Action,
    Build,
    Change,
    Run,
    Write,
)
from gpu_passthrough_plugin.model.change_history import (
    ChangeKind,
    ChangeRecord,
    Enablement,
    History,
)
from gpu_passthrough_plugin.model.group import Member, Role
from tests.trees import debian, installed
from tests.trees.host import Host
from tests.unit.enablement.values import CARD
from tests.unit.isolation.values import gpu

BY_ADDRESS = Drivers(Intel(), Debian(), InitramfsTools(), AddressBinding())
BY_IDS = dataclasses.replace(BY_ADDRESS, binding=IdsBinding())
ONE_CARD = DesiredState(CARD, ())
MODPROBE = "/etc/modprobe.d/gpu-passthrough.conf"


def plan(
    host: Host,
    drivers: Drivers = BY_ADDRESS,
    desired: DesiredState = ONE_CARD,
    history: History | None = None,
    built: dict[str, str] | None = None,
) -> HostPlan:
    installation = installed.installation(host.tree())
    return planning.plan(
        desired, drivers, installation, "this boot", history, built
    )


def carried_out(host: Host, done: HostPlan) -> dict[str, str]:
    """Make the plan's files on the host; return the inputs of images."""
    for change in done.changes:
        if isinstance(change, Write) and change.becomes is not None:
            host.file(change.path[1:], change.becomes.decode())
    return {c.image: c.inputs for c in done.changes if isinstance(c, Build)}


def history(done: HostPlan, *, is_finished: bool = True) -> History:
    enablement = dataclasses.replace(done.enablement, boot_id="earlier")
    return History(enablement, is_finished=is_finished)


def test_files_then_images_then_arguments() -> None:
    made = plan(debian.debian12())
    kinds = [type(change) for change in made.changes]
    assert kinds == [Write, Write, Write, Build, Build, Write, Write, Run]
    assert made.has_changes
    assert made.enablement == Enablement(
        CARD,
        "address",
        ("intel_iommu=on",),
        "this boot",
        BY_ADDRESS.names,
    )


def test_files_of_modprobe_go_into_images() -> None:
    desired = dataclasses.replace(ONE_CARD, blacklist=("nouveau",))
    made = plan(debian.debian12(), BY_IDS, desired)
    (image, _) = (c for c in made.changes if isinstance(c, Build))
    assert (
        sum("modprobe" in pattern for pattern in image.required_patterns) == 2
    )


def test_an_image_is_built_again_when_what_goes_into_it_changes() -> None:
    host = debian.debian12()
    built = carried_out(host, plan(host))
    again = plan(host, built=built)
    assert {c.action for c in again.changes if isinstance(c, Build)} == {
        Action.KEEP
    }
    other = plan(
        host,
        desired=dataclasses.replace(ONE_CARD, blacklist=("nouveau",)),
        built=built,
    )
    assert {c.action for c in other.changes if isinstance(c, Build)} == {
        Action.CHANGE
    }
    inputs = {c.image: c.inputs for c in other.changes if isinstance(c, Build)}
    assert inputs.keys() == built.keys()
    assert set(inputs.values()).isdisjoint(built.values())


def test_new_images_are_copied_to_the_boot_loader() -> None:
    host = debian.proxmox_systemd_boot()
    drivers = dataclasses.replace(
        BY_ADDRESS, iommu=Amd(), bootloader=Proxmox()
    )
    first = plan(host, drivers)
    (refresh,) = (c for c in first.changes if isinstance(c, Run))
    assert first.changes[-1] == refresh
    assert refresh.is_needed
    built = carried_out(host, first)
    assert not plan(host, drivers, built=built).has_changes
    # An image that another program built since.
    built.popitem()
    assert plan(host, drivers, built=built).changes[-1].action is Action.RUN


def test_an_argument_that_is_not_needed_any_more_is_removed() -> None:
    host = debian.debian12()
    bypassed = dataclasses.replace(ONE_CARD, iommu_passthrough=True)
    first = plan(host, desired=bypassed)
    assert "iommu=pt" in first.enablement.arguments
    built = carried_out(host, first)
    plain = plan(host, history=history(first), built=built)
    (drop_in,) = (
        c.becomes
        for c in plain.changes
        if isinstance(c, Write) and "90-gpu-passthrough.cfg" in c.path
    )
    assert drop_in is not None
    assert b"iommu=pt" not in drop_in


def test_the_boot_of_the_last_change_is_remembered() -> None:
    host = debian.debian12()
    first = plan(host)
    built = carried_out(host, first)
    menu = host.tree().read("boot/grub/grub.cfg")
    assert isinstance(menu, bytes)
    host.file(
        "boot/grub/grub.cfg",
        menu.decode().replace(" ro", " ro intel_iommu=on"),
    )
    kept = plan(host, history=history(first), built=built)
    assert not kept.has_changes
    assert kept.enablement.boot_id == "earlier"
    broken = history(first, is_finished=False)
    again = plan(host, history=broken, built=built)
    assert again.enablement.boot_id == "this boot"


def test_a_host_is_not_planned_by_drivers_that_do_not_know_its_files() -> None:
    host = debian.debian12()
    other = dataclasses.replace(BY_ADDRESS, bootloader=Proxmox())
    with pytest.raises(errors.Refused) as refused:
        plan(host, other, history=history(plan(host)))
    for name in ("bootloader debian", "bootloader proxmox"):
        assert name in str(refused.value)


def test_images_without_files_of_this_product() -> None:
    installation = installed.installation(debian.debian12().tree())
    images = [k.image for k in installation.kernels]
    (build,) = planning.restored_images(
        InitramfsTools(), installation, (str(images[0]),)
    )
    assert build.image == images[0]
    assert build.required_patterns == ()


def test_an_unfinished_change_is_repeated() -> None:
    run = Run("menu", ("/bin/grub",), is_needed=False)
    write = Write("arguments", "/etc/a", b"a", b"a")
    build = Build("image", "/boot/i", "6.1", (), (), (), "", is_needed=False)
    changes: tuple[Change, ...] = (write, run, build)
    assert planning.repeat_unfinished(changes, None) == changes
    kinds = (ChangeKind.WRITE, ChangeKind.RUN, ChangeKind.BUILD)
    records = tuple(
        ChangeRecord(kind, change.step, change.target, is_done=True)
        for kind, change in zip(kinds, changes, strict=True)
    )
    enablement = Enablement((), "ids", (), "", {})
    done = History(enablement, records)
    assert planning.repeat_unfinished(changes, done) == changes
    begun = History(
        enablement,
        tuple(dataclasses.replace(r, is_done=False) for r in records),
    )
    assert begun.unfinished == {"/bin/grub", "/etc/a", "/boot/i"}
    again = planning.repeat_unfinished(changes, begun)
    assert [c.action for c in again] == [
        Action.KEEP,
        Action.RUN,
        Action.CHANGE,
    ]


def test_a_virtual_function_is_noted() -> None:
    """No early script finds it: its physical function's driver makes it."""
    (first, _) = CARD
    late = dataclasses.replace(ONE_CARD, virtual_functions=(first.address,))
    host = debian.debian12()
    (note,) = {*plan(host, desired=late).notes} - {*plan(host).notes}
    assert str(first.address) in note and "virtual function" in note


def test_ids_that_an_earlier_plan_added_are_not_anothers() -> None:
    """Its own arguments are removed; those of others refuse the plan."""
    word = "vfio-pci.ids=10de:1430"
    host = debian.debian12()
    host.file(
        "etc/default/grub", f'GRUB_CMDLINE_LINUX_DEFAULT="quiet {word}"\n'
    )
    twin = Member(gpu("82:00.0", driver="nouveau"), Role.PRIMARY, None)
    one = dataclasses.replace(ONE_CARD, others=(twin,))
    with pytest.raises(errors.Refused, match=r"10de:1430.*0000:82:00\.0"):
        plan(host, desired=one)
    earlier = Enablement(CARD, "ids", (word,), "earlier", BY_ADDRESS.names)
    planned = plan(host, desired=one, history=History(earlier))
    assert word not in planned.enablement.arguments


def test_what_is_no_longer_bound_is_noted() -> None:
    host = debian.debian12()
    both = plan(host)
    (first, *others) = both.enablement.targets
    assert others
    one = dataclasses.replace(ONE_CARD, targets=(first,))
    notes = "\n".join(plan(host, desired=one, history=history(both)).notes)
    assert "no longer bound" in notes
    assert all(str(target.address) in notes for target in others)
    assert str(first.address) not in notes
    again = plan(host, history=history(both)).notes
    assert not any("no longer bound" in note for note in again)
