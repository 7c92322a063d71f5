"""What initramfs-tools is given, and asked to build."""

from __future__ import annotations

import re

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.driver import InitramfsContent
from gpu_passthrough_plugin.enablement.initramfs.initramfs_tools import (
    HOOK,
    SCRIPT,
    InitramfsTools,
)
from gpu_passthrough_plugin.model.change import Action, Build
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import MISSING
from tests.trees.debian import debian12
from tests.trees.installed import installation
from tests.unit.enablement.values import host, installed, written

DRIVER = InitramfsTools()
MODULES = ("vfio", "vfio_pci")
ADDRESS = InitramfsContent("echo bound\n", MODULES)
IDS = InitramfsContent("", MODULES, ("/etc/modprobe.d/gpu-passthrough.conf",))
# As lsinitramfs lists it.
LISTING = """\
usr/lib/modules/6.1.0-28-amd64/kernel/drivers/vfio/vfio.ko
usr/lib/modules/6.1.0-28-amd64/kernel/drivers/vfio/pci/vfio-pci.ko
etc/modprobe.d/gpu-passthrough.conf
scripts/init-top/gpu-passthrough
scripts/init-top/ORDER
""".splitlines()


def debian() -> Installation:
    return installation(debian12().tree())


def built(content: InitramfsContent, of: Installation) -> Build:
    build = DRIVER.build(of, of.kernels[0], content)
    assert build is not None
    return build


def test_the_script_has_the_frame_of_initramfs_tools() -> None:
    files = written(DRIVER.files(debian(), ADDRESS))
    text = files[SCRIPT]
    assert text is not None
    assert text.startswith("#!/bin/sh\n")
    assert 'PREREQ=""\n' in text
    assert text.endswith("esac\n\necho bound\n")


def test_scripts_come_in_the_order_of_their_names() -> None:
    assert SCRIPT.rpartition("/")[2] < "udev"


def test_the_hook_brings_the_modules() -> None:
    files = written(DRIVER.files(debian(), ADDRESS))
    text = files[HOOK]
    assert text is not None
    assert text.endswith(
        ". /usr/share/initramfs-tools/hook-functions\n"
        "force_load vfio\nforce_load vfio_pci\n"
    )


def test_hook_and_script_are_executable() -> None:
    assert {w.mode for w in DRIVER.files(debian(), ADDRESS)} == {0o755}


def test_without_a_script_the_old_one_is_removed() -> None:
    files = {SCRIPT: "#!/bin/sh\n", HOOK: "#!/bin/sh\n"}
    writes = {w.path: w for w in DRIVER.files(installed(files), IDS)}
    assert writes[SCRIPT].action is Action.REMOVE
    assert writes[HOOK].action is Action.CHANGE
    assert written(DRIVER.files(debian(), IDS)).keys() == {HOOK}


def test_a_second_plan_keeps_the_files() -> None:
    there = written(DRIVER.files(debian(), ADDRESS))
    again = DRIVER.files(
        installed({p: t or "" for p, t in there.items()}), ADDRESS
    )
    assert [w.action for w in again] == [Action.KEEP, Action.KEEP]


def test_an_image_is_built_at_another_path() -> None:
    of = debian()
    build = built(ADDRESS, of)
    release = of.kernels[0].release
    assert build.kernel == release
    assert build.image == f"/boot/initrd.img-{release}"
    assert build.argv == (
        "/usr/sbin/mkinitramfs", "-o", "{new}", release,
    )  # fmt: skip
    assert build.list_argv == ("/usr/bin/lsinitramfs", "{new}")


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (ADDRESS, "scripts/init-top/gpu-passthrough"),
        (ADDRESS, "vfio.ko"),
        (ADDRESS, "vfio-pci.ko"),
        (IDS, "vfio-pci.ko"),
        (IDS, "etc/modprobe.d/gpu-passthrough.conf"),
    ],
)
def test_the_listing_shows_what_is_missing(
    content: InitramfsContent, missing: str
) -> None:
    expected = built(content, debian()).required_patterns
    assert lacking(expected, LISTING) == []
    less = [row for row in LISTING if not row.endswith(missing)]
    assert len(lacking(expected, less)) == 1


def lacking(expected: tuple[str, ...], listing: list[str]) -> list[str]:
    return [p for p in expected if not any(re.search(p, r) for r in listing)]


def test_what_is_built_in_need_not_be_in_the_image() -> None:
    of = installation(host(is_vfio_builtin=True).tree())
    of = of._replace(tools=debian().tools)
    assert built(ADDRESS, of).required_patterns == (
        r"(^|/)scripts/init-top/gpu-passthrough$",
    )


def test_what_may_be_built_in_has_to_be_in_the_image() -> None:
    of = debian()
    lost = tuple(k._replace(builtin=MISSING) for k in of.kernels)
    assert (
        len(built(ADDRESS, of._replace(kernels=lost)).required_patterns) == 3
    )


def test_an_image_without_files_of_this_product() -> None:
    assert built(InitramfsContent(), debian()).required_patterns == ()


def test_a_kernel_without_an_image_is_left_alone() -> None:
    of = debian()
    kernel = of.kernels[0]._replace(image=None)
    assert DRIVER.build(of, kernel, ADDRESS) is None


def test_a_missing_command_is_named() -> None:
    with pytest.raises(errors.Refused, match="mkinitramfs"):
        built(ADDRESS, installed())


def test_the_kernel_hooks_decide_who_claims_the_host() -> None:
    of = debian()
    hooks = "/etc/kernel/postinst.d"
    assert DRIVER.claims(of) == "/usr/sbin/mkinitramfs is installed"
    both = {**of.folders, hooks: ("dracut", "initramfs-tools")}
    assert DRIVER.claims(of._replace(folders=both))
    other = {**of.folders, hooks: ("dracut", "zz-update-grub")}
    assert DRIVER.claims(of._replace(folders=other)) is None
    assert DRIVER.claims(installed()) is None
