"""What the host loads, and what is kept from loading."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import kernel_modules
from gpu_passthrough_plugin.model.change import Action
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Member, Role
from gpu_passthrough_plugin.model.reading import MISSING
from tests.unit.enablement.values import CARD, found, written
from tests.unit.isolation.values import Fields, audio, detail, gpu

NOWHERE = found()


def member(of: Function, **fields: Fields) -> Member:
    return Member(of, Role.PRIMARY, detail(of, **fields))


def blacklisted(*others: Member, name: str = "nouveau") -> str | None:
    writes = kernel_modules.changes(CARD, others, NOWHERE, (name,))
    return written(writes).get(kernel_modules.BLACKLIST)


def rows(text: str | None) -> list[str]:
    assert text is not None
    return [row for row in text.splitlines() if not row.startswith("#")]


def test_vfio_is_loaded_in_order() -> None:
    (change,) = kernel_modules.changes(CARD, (), NOWHERE, ())
    assert change.path == "/etc/modules-load.d/gpu-passthrough.conf"
    assert rows(written((change,))[change.path]) == [
        "vfio",
        "vfio_iommu_type1",
        "vfio_pci",
    ]


def test_what_is_built_into_every_kernel_is_not_loaded() -> None:
    there = found(is_vfio_builtin=True)
    assert kernel_modules.changes(CARD, (), there, ()) == ()
    old = there.kernels[0]._replace(builtin=frozenset({"vfio"}))
    both = there._replace(kernels=(*there.kernels, old))
    (change,) = kernel_modules.changes(CARD, (), both, ())
    assert rows(written((change,))[change.path]) == [
        "vfio_iommu_type1",
        "vfio_pci",
    ]


def test_a_second_plan_keeps_the_files() -> None:
    asked = ("nouveau",)
    first = written(kernel_modules.changes(CARD, (), NOWHERE, asked))
    there = found({path: text or "" for path, text in first.items()})
    again = kernel_modules.changes(CARD, (), there, asked)
    assert [w.action for w in again] == [Action.KEEP, Action.KEEP]


def test_a_blacklist_that_is_no_longer_asked_for_goes() -> None:
    there = found({kernel_modules.BLACKLIST: "blacklist nouveau\n"})
    (_, change) = kernel_modules.changes(CARD, (), there, ())
    assert change.path == kernel_modules.BLACKLIST
    assert change.action is Action.REMOVE


def test_a_blacklist_has_each_driver_once() -> None:
    names = ("snd-hda-intel", "nouveau", "snd_hda_intel")
    writes = kernel_modules.changes(CARD, (), NOWHERE, names)
    text = written(writes)[kernel_modules.BLACKLIST]
    assert rows(text) == ["blacklist nouveau", "blacklist snd_hda_intel"]


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


@pytest.mark.parametrize(
    "other",
    [
        member(gpu("07:00.0", driver="nvidia"), modules=("nouveau",)),
        member(gpu("07:00.0"), modules=("nouveau", "nvidia")),
        member(gpu("07:00.0"), modules=()),
        member(audio("07:00.1", driver="nouveau")),
    ],
)
def test_what_stays_and_does_not_need_it_is_no_matter(other: Member) -> None:
    assert rows(blacklisted(other)) == ["blacklist nouveau"]


def test_a_hyphen_hides_nothing() -> None:
    other = member(gpu("07:00.0", driver="nvidia-drm"))
    with pytest.raises(errors.Refused, match=r"^nvidia_drm "):
        blacklisted(other, name="nvidia_drm")


def test_unsafe_interrupts_only_when_they_are_asked_for() -> None:
    assert kernel_modules.unsafe_interrupts(NOWHERE, is_allowed=False) == ()
    (change,) = kernel_modules.unsafe_interrupts(NOWHERE, is_allowed=True)
    text = written((change,))[kernel_modules.UNSAFE]
    assert rows(text) == ["options vfio_iommu_type1 allow_unsafe_interrupts=1"]
    there = found({kernel_modules.UNSAFE: text or ""})
    (change,) = kernel_modules.unsafe_interrupts(there, is_allowed=False)
    assert change.action is Action.REMOVE
