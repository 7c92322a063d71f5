"""Changes to how a host boots: made, made again, and taken back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.change import Action
from tests.functional.bootable import (
    EARLY,
    ENABLEMENT,
    GRUB,
    IDS,
    IMAGE,
    LINE,
    MENU,
    MODULES,
    NOTE,
    OLD,
    OTHER_MENU,
    RELEASE,
    Bootable,
    bootable,
    changes_in,
)

OTHER = b"options vfio-pci ids=1002:5046,8086:2668\n"

_HALF = f"""#!/bin/sh
echo "# half" >.{MENU}
echo "# half" >.{MENU}.new
echo "half of it" >&2
exit 1
"""


@pytest.fixture
def host(tmp_path: Path) -> Bootable:
    return bootable(tmp_path)


def require_enabled(host: Bootable, ids: bytes = IDS) -> None:
    """Nothing, where all that was planned is there."""
    assert changes_in(host.plan(ids)) == []
    assert host.text(GRUB).startswith(LINE.format(" intel_iommu=on"))
    assert "intel_iommu=on" in host.text(MENU)
    assert "intel_iommu=on" in host.text(OTHER_MENU)
    assert host.at(OTHER_MENU).stat().st_mode & 0o777 == 0o600
    assert ids.decode() in host.text(IMAGE)
    assert host.text(f"{IMAGE}.gpu-passthrough-old") == "image of old\n"
    assert host.at(IMAGE).stat().st_mode & 0o777 == 0o600
    assert not host.at(OLD).exists()
    assert host.at("/etc/sysconfig/grub").is_symlink()
    assert host.at(GRUB).stat().st_mode & 0o777 == 0o640
    assert os.getxattr(host.at(GRUB), "user.origin") == b"\0installer"


def test_what_was_made_is_there_and_all_of_it_is_taken_back(
    host: Bootable,
) -> None:
    before = host.snapshot()
    host.enable()
    require_enabled(host)
    steps = host.disable()
    assert host.snapshot() == before
    assert host.is_clean()
    assert [(s.target, s.action) for s in steps] == [
        (OTHER_MENU, Action.CHANGE),
        (MENU, Action.CHANGE),
        (GRUB, Action.CHANGE),
        (IMAGE, Action.CHANGE),
        (NOTE, Action.CHANGE),
        (OLD, Action.CREATE),
        (EARLY, Action.REMOVE),
        (MODULES, Action.REMOVE),
    ]
    assert host.disable() == ()


def test_a_second_time_nothing_is_touched(host: Bootable) -> None:
    host.enable()
    before, journal = host.snapshot(), host.state / "enablement/changes.json"
    was = _written(journal)
    host.said.clear()
    host.enable()
    assert host.snapshot() == before
    assert _written(journal) == was
    assert host.said == []


def _written(path: Path) -> tuple[int, int]:
    """Which file it is, and since when; reading it changes neither."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def test_another_selection_keeps_the_first_original(host: Bootable) -> None:
    before = host.snapshot()
    host.enable()
    host.enable(OTHER)
    require_enabled(host, OTHER)
    host.enable(IDS)
    host.disable()
    assert host.snapshot() == before


def test_the_note_of_an_image_is_kept_in_step(host: Bootable) -> None:
    host.enable()
    digest = host.tools[0].sha1(IMAGE)
    assert host.text(NOTE) == f"{digest}  {IMAGE}\n"
    host.disable()
    assert host.text(NOTE) == f"0000  {IMAGE}\n"
    host.at(NOTE).unlink()
    host.enable()
    assert not host.at(NOTE).exists()


def test_an_edit_elsewhere_in_a_file_survives(host: Bootable) -> None:
    host.enable()
    host.at(GRUB).write_text(
        LINE.format(" intel_iommu=on nosmt") + "GRUB_TIMEOUT=9\n# mine\n"
    )
    host.at(MODULES).write_text(IDS.decode() + "options kvm nested=1\n")
    steps = host.disable()
    assert host.text(GRUB) == (
        LINE.format(" nosmt") + "GRUB_TIMEOUT=9\n# mine\n"
    )
    assert host.text(MODULES) == "options kvm nested=1\n"
    (note,) = (s.note for s in steps if s.target == GRUB)
    assert GRUB in note
    assert note in host.said
    assert host.at(GRUB).stat().st_mode & 0o777 == 0o640
    assert host.is_clean()


def test_an_edit_of_what_is_ours_is_kept_and_said(host: Bootable) -> None:
    host.enable()
    edited = LINE.format(" intel_iommu=on,sm_on") + "GRUB_TIMEOUT=5\n"
    host.at(GRUB).write_text(edited)
    host.at(MODULES).write_text("options vfio-pci ids=1002:5046 nointx=1\n")
    steps = {s.target: s for s in host.disable()}
    assert host.text(GRUB) == edited
    assert steps[GRUB].action is Action.KEEP
    assert GRUB in steps[GRUB].note
    assert host.text(MODULES) == "options vfio-pci ids=1002:5046 nointx=1\n"
    assert "options vfio-pci ids=1002:5046" in steps[MODULES].note
    assert host.is_clean()


def test_an_edit_before_the_second_time_survives_the_undoing(
    host: Bootable,
) -> None:
    host.enable()
    host.at(GRUB).write_text(
        LINE.format(" intel_iommu=on nosmt") + "GRUB_TIMEOUT=5\n"
    )
    host.enable(OTHER)
    assert "intel_iommu=on nosmt" in host.text(GRUB)
    host.disable()
    assert host.text(GRUB) == LINE.format(" nosmt") + "GRUB_TIMEOUT=5\n"


def test_an_edit_of_ours_before_the_second_time_is_said(
    host: Bootable,
) -> None:
    host.enable()
    edited = "options vfio-pci ids=1002:5046,10de:1430 # ours\n"
    host.at(MODULES).write_text(f"softdep x pre: vfio-pci\n{edited}")
    host.enable(OTHER)
    assert host.text(MODULES) == OTHER.decode()
    steps = {s.target: s for s in host.disable()}
    assert host.text(MODULES) == f"softdep x pre: vfio-pci\n{edited}"
    assert "options vfio-pci" in steps[MODULES].note


def test_a_file_that_was_removed_since_stays_removed(host: Bootable) -> None:
    host.enable()
    host.at(MODULES).unlink()
    host.at(GRUB).unlink()
    steps = {s.target: s for s in host.disable()}
    assert not host.at(MODULES).exists()
    assert MODULES not in steps
    assert not host.at(GRUB).exists()
    assert steps[GRUB].action is Action.KEEP
    assert GRUB in steps[GRUB].note


def test_a_file_that_was_made_anew_stays(host: Bootable) -> None:
    host.enable()
    host.at(OLD).write_text("options vfio-pci disable_vga=1\n")
    steps = {s.target: s for s in host.disable()}
    assert host.text(OLD) == "options vfio-pci disable_vga=1\n"
    assert OLD in steps[OLD].note


def test_a_mode_that_was_changed_since_stays(host: Bootable) -> None:
    host.enable()
    host.at(GRUB).chmod(0o600)
    host.disable()
    assert host.text(GRUB) == LINE.format("") + "GRUB_TIMEOUT=5\n"
    assert host.at(GRUB).stat().st_mode & 0o777 == 0o600


def test_what_was_generated_anew_is_generated_again(host: Bootable) -> None:
    host.enable()
    host.write("/boot/vmlinuz-6.2", "kernel")
    host.write("/boot/initrd.img-6.2", IDS.decode())
    menu = host.text(MENU).splitlines()
    host.at(MENU).write_text(f"{menu[0].replace(RELEASE, '6.2')}\n{menu[0]}\n")
    steps = [(s.target, s.action) for s in host.disable()]
    assert steps[-2:] == [
        ("/boot/initrd.img-6.2", Action.CHANGE),
        ("/usr/sbin/update-grub", Action.RUN),
    ]
    assert host.text(MENU) == (
        f"linux /boot/vmlinuz-{RELEASE} quiet\nlinux /boot/vmlinuz-6.2 quiet\n"
    )
    assert IDS.decode() not in host.text("/boot/initrd.img-6.2")


def test_an_image_that_others_built_since_is_built_without_ours(
    host: Bootable,
) -> None:
    host.enable()
    host.write(IMAGE, f"image with microcode\n{IDS.decode()}", 0o600)
    steps = host.disable()
    assert (IMAGE, Action.CHANGE) in [(s.target, s.action) for s in steps]
    assert host.text(IMAGE) == (
        f"image of {RELEASE}\noptions vfio-pci ids=10de:1430\n"
    )
    assert not host.at(f"{IMAGE}.gpu-passthrough-old").exists()
    assert host.is_clean()


def test_an_image_that_others_built_before_the_second_time(
    host: Bootable,
) -> None:
    host.enable()
    host.write(IMAGE, f"image with microcode\n{IDS.decode()}", 0o600)
    host.enable(OTHER)
    assert not host.at(f"{IMAGE}.gpu-passthrough-old").exists()
    host.disable()
    assert host.text(IMAGE).startswith(f"image of {RELEASE}\n")
    assert OTHER.decode() not in host.text(IMAGE)


def test_a_kernel_that_was_removed_since(host: Bootable) -> None:
    host.enable()
    host.at(f"/boot/vmlinuz-{RELEASE}").unlink()
    host.at(IMAGE).unlink()
    steps = {s.target: s for s in host.disable()}
    assert f"kernel {RELEASE} was removed" in steps[IMAGE].note
    assert sorted(os.listdir(host.at("/boot"))) == ["grub", "grub2"]


def test_an_image_without_its_kept_one_is_built_anew(host: Bootable) -> None:
    host.enable()
    host.at(f"{IMAGE}.gpu-passthrough-old").unlink()
    host.disable()
    assert host.text(IMAGE).startswith(f"image of {RELEASE}\n")
    assert IDS.decode() not in host.text(IMAGE)


def test_an_image_that_was_removed_under_its_kernel_is_put_back(
    host: Bootable,
) -> None:
    host.enable()
    host.at(IMAGE).unlink()
    host.disable()
    assert host.text(IMAGE) == "image of old\n"


@pytest.mark.parametrize(
    ("flaw", "told"),
    [
        ("fail-build", "/usr/sbin/build ended with exit status 1: building"),
        ("short-build", "6 bytes long; expected at least half of the 13"),
        ("fail-list", "/usr/sbin/list ended with exit status 1"),
    ],
)
def test_an_image_that_is_no_good_never_gets_in_place(
    host: Bootable, flaw: str, told: str
) -> None:
    before = host.snapshot()
    host.write(f"/etc/{flaw}", "")
    with pytest.raises(errors.Unavailable) as caught:
        host.enable()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert host.text(IMAGE) == "image of old\n"
    assert not host.at(f"{IMAGE}.gpu-passthrough-new").exists()
    host.at(f"/etc/{flaw}").unlink()
    host.enable()
    require_enabled(host)
    host.disable()
    assert host.snapshot() == before


def test_an_image_that_lacks_what_is_wanted(host: Bootable) -> None:
    host.write("/usr/sbin/list", "#!/bin/sh\necho some/module.ko\n", 0o755)
    with pytest.raises(errors.Unavailable, match=IMAGE):
        host.enable()
    assert host.text(IMAGE) == "image of old\n"


def test_a_command_that_fails_tells_its_last_lines(host: Bootable) -> None:
    before = host.snapshot()
    host.write("/etc/fail-grub", "")
    with pytest.raises(errors.Unavailable) as caught:
        host.enable()
    for datum in (
        "'boot menu': /usr/sbin/update-grub",
        "status 3: no device for /;",
        f"{host.state}/enable.log",
    ):
        assert datum in str(caught.value)
    host.at("/etc/fail-grub").unlink()
    host.disable()
    assert host.snapshot() == before


@pytest.mark.parametrize("fault", ["fail-menu", "empty-menu"])
def test_a_menu_that_is_no_good_never_gets_in_place(
    host: Bootable, fault: str
) -> None:
    before = host.snapshot()
    host.write(f"/etc/{fault}", "")
    with pytest.raises(errors.Unavailable, match="other menu"):
        host.enable()
    assert host.text(OTHER_MENU) == "linux /boot/vmlinuz quiet\n"
    host.at(f"/etc/{fault}").unlink()
    host.enable()
    require_enabled(host)
    host.disable()
    assert host.snapshot() == before


def test_a_command_that_fails_half_way_leaves_no_half(host: Bootable) -> None:
    """One that writes over the files that the host boots from."""
    was = host.text(MENU)
    host.write("/usr/sbin/update-grub", _HALF, 0o755)
    with pytest.raises(errors.Unavailable, match="half of it"):
        host.enable()
    assert host.text(MENU) == was
    assert not host.at(f"{MENU}.new").exists()


def test_images_that_do_not_fit_are_refused_before_anything(
    host: Bootable,
) -> None:
    before = host.snapshot()
    free = os.statvfs(host.root)
    os.truncate(host.at(IMAGE), (free.f_bavail + 1) * free.f_frsize)
    try:
        with pytest.raises(errors.Refused) as caught:
            host.enable()
    finally:
        host.write(IMAGE, "image of old\n", 0o600)
    assert str(caught.value).startswith(f"{IMAGE} is on a file system with")
    os.utime(host.at(IMAGE), ns=(1_600_000_000_123_456_789,) * 2)
    assert host.snapshot() == before
    assert not (host.state / "enablement").exists()


def test_an_edit_between_the_plan_and_the_act_is_not_overwritten(
    host: Bootable,
) -> None:
    before = host.snapshot()
    plan = host.plan()
    host.at(GRUB).write_text("mine\n")
    with pytest.raises(errors.Conflict, match="/grub changed"):
        host.applier.apply(plan, ENABLEMENT)
    assert host.text(GRUB) == "mine\n"
    host.disable()
    assert host.text(GRUB) == "mine\n"
    host.at(GRUB).write_text(LINE.format("") + "GRUB_TIMEOUT=5\n")
    os.utime(host.at(GRUB), ns=(1_600_000_000_123_456_789,) * 2)
    assert host.snapshot() == before
