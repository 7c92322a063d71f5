"""Documents of public guides and of Nova, put to the hook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from tests.functional.hooked import AUDIO, GPU, ME, HookedHost, xml
from tests.trees import reported
from tests.trees.host import Host

_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"


def with_arguments(text: str, arguments: Sequence[str]) -> str:
    """The document with arguments that libvirt hands to QEMU unread."""
    inside = "".join(f"<q:arg value={quoteattr(a)}/>" for a in arguments)
    return text.replace(
        "</domain>",
        f"<q:commandline xmlns:q='{_QEMU}'>{inside}</q:commandline></domain>",
    )


def hooked(folder: Path, described: Host | None = None) -> HookedHost:
    made = HookedHost(folder, described)
    made.install()
    return made


def test_a_vgpus_function_stays_on_nvidia(tmp_path: Path) -> None:
    """bigstack-oss/cubecos#312, NVIDIA/gpu-operator#2594: managed is no."""
    described = reported.host(
        """
        25:00.0 0302 10de:2bb5 group=40 driver=nvidia vfs=48/1
        25:00.4 0302 10de:2bb5 group=41 driver=nvidia physical=25:00.0
        """
    )
    path = "/devices/pci0000:25/0000:25:00.4"
    attributes = {"current_vgpu_type": "1155\n"}
    described.device(f"{path}/nvidia", "nvidia", attributes)
    described.device(f"{path}/vfio-dev/vfio0", "vfio-dev")
    host = hooked(tmp_path, described)
    host.configure("[discovery]\nselect = 10de:1430\n")
    done = host.call(xml("0000:25:00.4", managed="no"))
    assert (done.returncode, done.stderr) == (0, "")
    done = host.call(xml("0000:25:00.4"))
    assert (done.returncode, "managed='no'" in done.stderr) == (1, True)


def test_a_default_of_the_model_hands_nothing_over(tmp_path: Path) -> None:
    """The workaround that boots: x-no-mmap=on for every vfio-pci."""
    host = hooked(tmp_path)
    arguments = ("-global", "vfio-pci.x-no-mmap=on")
    done = host.call(with_arguments(xml(GPU, AUDIO), arguments))
    assert (done.returncode, done.stderr) == (0, "")
    assert host.states()[GPU] == ("active", ME)


def test_a_mediated_device_is_not_its_parent(tmp_path: Path) -> None:
    """GVT-g as scripts write it; the integrated card stays the host's."""
    described = reported.host("00:02.0 0300 8086:5916 group=1 driver=i915")
    host = hooked(tmp_path, described)
    device = (
        "vfio-pci,sysfsdev=/sys/bus/pci/devices/0000:00:02.0/"
        "37414358-bd2b-11e8-8fa3-7bde838751b0,display=off,x-igd-opregion=on"
    )
    done = host.call(with_arguments(xml(), ("-device", device)))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_name_hides_no_function(tmp_path: Path) -> None:
    """Guides to macOS guests pass the card by -device, with a ROM."""
    host = hooked(tmp_path)
    device = "vfio-pci,host=06:00.0,romfile=/root/mdev/vbios.rom"
    done = host.call(with_arguments(xml(), ("-device", device)))
    assert (done.returncode, done.stderr) == (0, "")
    assert host.states()[GPU] == ("active", ME)
    other = with_arguments(xml(uuid=f"0{ME[1:]}"), ("-device", device))
    done = host.call(other)
    assert (done.returncode, ME in done.stderr) == (1, True)
