"""What dracut is given, and asked to build."""

from __future__ import annotations

import re

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.driver import InitramfsContent
from gpu_passthrough_plugin.enablement.initramfs.dracut import (
    CONFIGURATION,
    SCRIPT,
    SETUP,
    Dracut,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Action
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import MISSING
from tests.trees import arch, debian, redhat
from tests.trees.host import Host
from tests.trees.installed import installation
from tests.unit.enablement.values import installed, written

DRIVER = Dracut()
MODULES = ("vfio", "vfio_iommu_type1", "vfio_pci")
OURS = "/etc/modprobe.d/gpu-passthrough.conf"
ADDRESS = InitramfsContent("echo bound\n", MODULES)
IDS = InitramfsContent("", MODULES, (OURS,))
# As lsinitrd lists it.
LISTING = """\
Image: /boot/initramfs-5.14.0.img: 38M
drwxr-xr-x   3 root     root            0 Jan  1 00:00 usr/lib/dracut
-rwxr-xr-x   1 root     root         3032 Jan  1 00:00 usr/lib/dracut/hooks/\
pre-udev/00-gpu-passthrough.sh
-rw-r--r--   1 root     root           96 Jan  1 00:00 etc/modprobe.d/\
gpu-passthrough.conf
-rw-r--r--   1 root     root        44444 Jan  1 00:00 usr/lib/modules/\
5.14.0/kernel/drivers/vfio/vfio.ko.xz
-rw-r--r--   1 root     root        44444 Jan  1 00:00 usr/lib/modules/\
5.14.0/kernel/drivers/vfio/vfio_iommu_type1.ko.xz
-rw-r--r--   1 root     root        44444 Jan  1 00:00 usr/lib/modules/\
5.14.0/kernel/drivers/vfio/pci/vfio-pci.ko.xz
""".splitlines()


def of(host: Host) -> Installation:
    return installation(host.tree())


def rows(content: InitramfsContent, there: Installation) -> list[str]:
    text = written(DRIVER.files(there, content))[CONFIGURATION]
    assert text is not None
    return [row for row in text.splitlines() if not row.startswith("#")]


def test_blanks_are_inside_the_quotes() -> None:
    assert rows(ADDRESS, of(redhat.centos7())) == [
        'force_drivers+=" vfio vfio_iommu_type1 vfio_pci "',
        'add_dracutmodules+=" gpu-passthrough "',
    ]
    assert rows(IDS, of(redhat.rhel9())) == [
        'force_drivers+=" vfio vfio_iommu_type1 vfio_pci "',
        f'install_items+=" {OURS} "',
    ]


def test_a_module_built_into_every_kernel_is_left_out() -> None:
    there = installed(is_vfio_builtin=True)
    assert rows(ADDRESS, there) == ['add_dracutmodules+=" gpu-passthrough "']
    (kernel,) = there.kernels
    lost = (kernel, kernel._replace(builtin=MISSING))
    assert rows(ADDRESS, there._replace(kernels=lost))[0].startswith("force")


def test_the_script_is_a_hook_before_udev() -> None:
    writes = {w.path: w for w in DRIVER.files(of(redhat.fedora()), ADDRESS)}
    assert writes[SCRIPT].becomes == b"#!/bin/sh\necho bound\n"
    assert b'inst_hook pre-udev 00 "${moddir:?}' in (
        writes[SETUP].becomes or b""
    )
    assert {writes[SCRIPT].mode, writes[SETUP].mode} == {0o755}
    assert SETUP.rpartition("/")[0] == SCRIPT.rpartition("/")[0]


def test_without_a_script_the_old_one_is_removed() -> None:
    there = installed({SETUP: "check() {\n", SCRIPT: "#!/bin/sh\n"})
    writes = {w.path: w for w in DRIVER.files(there, IDS)}
    assert writes[SETUP].action is writes[SCRIPT].action is Action.REMOVE


def test_a_second_plan_keeps_the_files() -> None:
    there = written(DRIVER.files(of(redhat.rhel9()), ADDRESS))
    again = installed({path: text or "" for path, text in there.items()})
    assert {w.action for w in DRIVER.files(again, ADDRESS)} == {Action.KEEP}


def test_a_script_is_refused_where_usr_is_read_only() -> None:
    there = of(redhat.silverblue())
    with pytest.raises(errors.Refused, match="--binding ids"):
        DRIVER.files(there, ADDRESS)
    assert written(DRIVER.files(there, IDS)).keys() == {CONFIGURATION}


def test_an_image_is_built_at_another_path() -> None:
    there = of(redhat.centos7())
    builds = [DRIVER.build(there, k, ADDRESS) for k in there.kernels]
    # The rescue image is the way back.
    assert [b.image for b in builds if b] == [
        "/boot/initramfs-3.10.0-1160.el7.x86_64.img",
        "/boot/initramfs-3.10.0-514.el7.x86_64.img",
    ]
    assert builds[0]
    assert builds[0].argv == (
        "/usr/bin/dracut", "--force", "{new}", "3.10.0-1160.el7.x86_64",
    )  # fmt: skip
    assert builds[0].list_argv == ("/usr/bin/lsinitrd", "{new}")


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (ADDRESS, "hooks/pre-udev/00-gpu-passthrough.sh"),
        (ADDRESS, "vfio-pci.ko.xz"),
        (IDS, "etc/modprobe.d/gpu-passthrough.conf"),
    ],
)
def test_the_listing_shows_what_is_missing(
    content: InitramfsContent, missing: str
) -> None:
    there = of(redhat.rhel9())
    build = DRIVER.build(there, there.kernels[0], content)
    assert build
    less = [row for row in LISTING if not row.endswith(missing)]
    lacking = [
        [
            p
            for p in build.required_patterns
            if not any(re.search(p, r) for r in listing)
        ]
        for listing in (LISTING, less)
    ]
    assert list(map(len, lacking)) == [0, 1]


def test_the_kernel_loads_vfio_pci_before_other_drivers() -> None:
    assert DRIVER.requirements == Requirements(
        arguments=("rd.driver.pre=vfio-pci",)
    )


def test_which_hosts_it_claims() -> None:
    assert DRIVER.claims(of(redhat.rhel8())) == "/usr/bin/dracut is installed"
    assert DRIVER.claims(of(debian.debian12())) is None
    there = of(arch.arch())
    assert DRIVER.claims(there) is None
    tools = {**there.tools, "dracut": "/usr/bin/dracut"}
    assert DRIVER.claims(there._replace(tools=tools)) is None
    less = there._replace(tools=tools, folders={})
    assert DRIVER.claims(less)
