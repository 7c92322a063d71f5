"""What builds one image, and which lines its listing has to have."""

from __future__ import annotations

import re

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.driver import InitramfsContent
from gpu_passthrough_plugin.enablement.initramfs import image
from gpu_passthrough_plugin.model.change import NEW_PATH
from gpu_passthrough_plugin.model.installation import Kernel
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from tests.unit.enablement.values import installed

IMAGE = "/boot/initrd.img-6.1"
CONFIG = "/etc/modprobe.d/gpu-passthrough.conf"
SCRIPT = r"(^|/)hooks/gpu-passthrough$"


def patterns(
    content: InitramfsContent,
    builtin: frozenset[str] | Unknown = frozenset(),
) -> tuple[str, ...]:
    build = image.build(
        Kernel("6.1", IMAGE, builtin),
        ("/usr/bin/build", NEW_PATH),
        "/usr/bin/list",
        content,
        SCRIPT,
    )
    assert build is not None
    assert (build.image, build.kernel) == (IMAGE, "6.1")
    assert build.argv == ("/usr/bin/build", NEW_PATH)
    assert build.list_argv == ("/usr/bin/list", NEW_PATH)
    return build.required_patterns


@pytest.mark.parametrize(
    ("line", "is_required"),
    [
        ("usr/lib/modules/6.1/kernel/drivers/vfio/pci/vfio-pci.ko", True),
        ("usr/lib/modules/6.1/kernel/drivers/vfio/pci/vfio_pci.ko.xz", True),
        ("usr/lib/modules/6.1/kernel/drivers/vfio/vfio-pci-core.ko", False),
        ("usr/lib/modules/6.1/kernel/drivers/vfio/vfio-pci.kox", False),
    ],
)
def test_a_module_is_required_by_its_file(
    line: str, is_required: bool
) -> None:
    (pattern,) = patterns(InitramfsContent("", ("vfio_pci",)))
    assert bool(re.search(pattern, line, re.MULTILINE)) == is_required


@pytest.mark.parametrize(
    ("line", "is_required"),
    [
        ("etc/modprobe.d/gpu-passthrough.conf", True),
        ("-rw-r--r-- root root etc/modprobe.d/gpu-passthrough.conf", True),
        ("etc/modprobe.d/gpu-passthroughXconf", False),
        ("etc/modprobe.d/gpu-passthrough.conf.bak", False),
    ],
)
def test_a_file_is_required_by_its_whole_path(
    line: str, is_required: bool
) -> None:
    (pattern,) = patterns(InitramfsContent("", (), (CONFIG,)))
    assert bool(re.search(pattern, line, re.MULTILINE)) == is_required


def test_a_script_is_required_where_there_is_one() -> None:
    assert patterns(InitramfsContent("echo\n")) == (SCRIPT,)
    assert patterns(InitramfsContent()) == ()


def test_only_a_module_that_is_known_to_be_built_in_is_not_required() -> None:
    content = InitramfsContent("", ("vfio", "vfio_pci"))
    assert len(patterns(content, frozenset({"vfio"}))) == 1
    assert len(patterns(content, MISSING)) == 2


def test_a_kernel_without_an_image_has_nothing_to_build() -> None:
    kernel = Kernel("6.1", None, frozenset())
    assert image.build(kernel, (), "", InitramfsContent(), "") is None


def test_a_command_that_is_not_installed_is_named() -> None:
    installation = installed()._replace(tools={"dracut": "/usr/bin/dracut"})
    assert image.tool(installation, "dracut") == "/usr/bin/dracut"
    with pytest.raises(errors.Refused, match="lsinitrd"):
        image.tool(installation, "lsinitrd")
