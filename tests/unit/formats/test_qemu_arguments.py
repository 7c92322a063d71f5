"""Which PCI functions QEMU's own arguments hand over."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import qemu_arguments

GPU = "0000:06:00.0"
MDEV = "c2177883-f1bb-47f0-914d-32a22e3a8804"
PARENT = "/sys/bus/pci/devices/0000:00:02.0"


def read(*arguments: str) -> tuple[list[str], tuple[str, ...]]:
    functions, unreadable = qemu_arguments.host_functions(arguments)
    return [str(address) for address in functions], unreadable


@pytest.mark.parametrize(
    "arguments",
    [
        ("-device", "vfio-pci,host=06:00.0"),
        ("--device", "vfio-pci,host=0000:06:00.0,id=a"),
        ("-device", "vfio-pci,host=6:0.0"),
        ("-device", "host=06:00.0,driver=vfio-pci"),
        ("-device", "virtio-net,driver=vfio-pci,host=06:00.0"),
        ("-device", "vfio-pci,host=07:00.0,host=06:00.0"),
        ("-device", f"vfio-pci,sysfsdev=/sys/bus/pci/devices/{GPU}"),
        ("-device", f"vfio-pci,sysfsdev=/x/{GPU}/,host=07:00.0"),
        # A word elsewhere in it means nothing.
        ("-device", "vfio-pci,host=06:00.0,romfile=/roms/mdev/a.rom"),
        ("-device", "vfio-pci,id=a,,b,host=06:00.0"),
        ("-device", "vfio-pci-nohotplug,host=06:00.0"),
        ("-device", '{"driver":"vfio-pci","host":"0000:06:00.0"}'),
        ("-device", r'{"driver":"\u0076fio-pci","host":"0000:06:00.0"}'),
        ("-device", "xen-pci-passthrough,hostaddr=0000:06:00.0"),
        ("-device", "pci-assign,host=06:00.0"),
        ("-global", "vfio-pci.host=06:00.0"),
        ("-global", "driver=vfio-pci,property=host,value=06:00.0"),
        # The value of an option that needs none here.
        ("-S", "-device", "vfio-pci,host=06:00.0"),
        ("-blockdev", "driver=nvme,device=0000:06:00.0,namespace=1"),
        ("-blockdev", "nvme,device=0000:06:00.0,namespace=1"),
        (
            "-blockdev",
            '{"driver":"quorum","children":[{"driver":"raw","file":'
            '{"driver":"nvme","device":"0000:06:00.0"}}]}',
        ),
        ("-drive", "if=none,file=nvme://0000:06:00.0/1"),
        ("-drive", "file.driver=nvme,file.device=0000:06:00.0,if=none"),
        (
            "-drive",
            'file=json:{"driver":"nvme",,"device":"0000:06:00.0"},if=none',
        ),
        ("-drive", r'file=json:{"filename":"\u006evme://0000:06:00.0/1"}'),
        (
            "-blockdev",
            '{"driver":"virtio-blk-vfio-pci","path":'
            '"/sys/bus/pci/devices/0000:06:00.0/"}',
        ),
        (
            "-drive",
            f"file.driver=virtio-blk-vfio-pci,file.path=/s/{GPU},if=none",
        ),
        # avocado-framework/avocado-vt#4004
        (
            *("-object", "iommufd,id=iommufd0", "-device"),
            "vfio-pci,host=06:00.0,iommufd=iommufd0",
        ),
        # harvester/harvester#10499
        (
            "-device",
            '{"driver":"vfio-pci","host":"0000:06:00.0","id":'
            '"ua-hostdevice-msa2-000006000","bus":"pci.15","addr":"0x0"}',
        ),
        ("-hda", "nvme://0000:06:00.0/1"),
        ("nvme://0000:06:00.0/1",),
        ('json:{"driver":"nvme","device":"0000:06:00.0"}',),
    ],
)
def test_what_hands_a_function_over(arguments: tuple[str, ...]) -> None:
    assert read(*arguments) == ([GPU], ())


def test_addresses_up_to_their_bounds() -> None:
    assert read("-device", "vfio-pci,host=10000:e2:1F.7") == (
        ["10000:e2:1f.7"],
        (),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-device",),
        ("-device", ""),
        ("-device", "virtio-net-pci,host=06:00.0"),
        ("-device", '{"driver":"virtio-net-pci"}'),
        ("-device=vfio-pci,host=06:00.0",),
        ("-device", "vfio-pci-igd-lpc-bridge,id=a,addr=1f.0"),
        ("-device", "vfio-user-pci,socket=/run/a"),
        (
            "-device",
            '{"driver":"vfio-user-pci","socket":{"path":"/a","type":"unix"}}',
        ),
        ("-object", "iommufd,id=iommufd0,fd=22"),
        ("-object", "x-vfio-user-server,id=a,type=unix,path=/a,device=b"),
        ("-netdev", "vhost-vdpa,vhostdev=/dev/vhost-vdpa-0,id=a"),
        # intel/gvt-linux#88
        (
            "-device",
            f"vfio-pci,sysfsdev={PARENT}/8afd6be6-3e6a-11e9-ac86-571db62e56d6,"
            "rombar=0,display=off,x-igd-opregion=on,x-vga=on",
        ),
        # AshleyYakeley/NixVirt#36, and guides to a vGPU with a display.
        ("-set", "device.hostdev0.x-vga=on"),
        ("-set", "device.hostdev0.driver=vfio-pci-nohotplug"),
        ("-set", "device.video0.driver=qxl"),
        # Mediated devices: their parents stay with the host.
        ("-device", f"vfio-pci,sysfsdev=/sys/bus/mdev/devices/{MDEV}"),
        ("-device", f"vfio-pci,sysfsdev={PARENT}/{MDEV},host=07:00.0"),
        # A default of the model hands nothing over.
        ("-global", "vfio-pci.x-no-mmap=on"),
        ("-global", "virtio-net-pci.host=06:00.0"),
        ("-append", "vfio-pci.ids=10de:1430"),
        ("-name", "vfio-pci"),
        ("-set", "device.net0.mac=52:54:00:00:00:01"),
        ("-drive", "file=/dev/nvme0n1,if=none"),
        ("-blockdev", "driver=raw,file.driver=file,file.filename=/nvme"),
        ("-drive", "file=/images/a,,b.img,readonly"),
    ],
)
def test_what_hands_none_over(arguments: tuple[str, ...]) -> None:
    assert read(*arguments) == ([], ())


@pytest.mark.parametrize(
    "arguments",
    [
        ("-device", "vfio-pci"),
        ("-device", "vfio-pci,host=x"),
        ("-device", "vfio-pci,host=06:00"),
        ("-device", "vfio-pci,host=06:00.9"),
        ("-device", "vfio-pci,host=06:20.0"),
        ("-device", "vfio-pci,host= 06:00.0"),
        ("-device", "vfio-pci,sysfsdev=/sys/class/drm/card0/device"),
        ("-device", f"vfio-pci,sysfsdev={PARENT}/{MDEV}/.."),
        ("-device", "vfio-pci,host=06:00.0,fd=7"),
        ("-device", "vfio-pci-future,host=06:00.0"),
        ("-device", "{'driver':'vfio-pci','host':'0000:06:00.0'}"),
        ("-device", '{"driver":"vfio-pci","host":{"a":1}}'),
        ("-device", "{" * 100_000),
        ("-device", '{"a":' * 20_000),
        ("-device", "vfio-pci,host=06:00.0," + "x" * 100_000),
        ("-global", "vfio-pci.host=x"),
        ("-global", "vfio-pci.fd=7"),
        ("-global", "driver=vfio-pci,property=driver,value=x"),
        ("-set", "device.a.host=06:00.0"),
        ("-set", "device.net0.driver=vfio-pci"),
        ("-set", "device.hostdev0.driver=vfio-pci-future"),
        (
            *("-device", "usb-host,id=hostdev0,host=06:00.0"),
            *("-set", "device.hostdev0.driver=vfio-pci"),
        ),
        (
            *("-device", '{"driver":"usb-host","id":"hostdev0"}'),
            *("-set", "device.hostdev0.driver=vfio-pci"),
        ),
        ("-set", "drive.a.file.driver=virtio-blk-vfio-pci"),
        ("-blockdev", "driver=virtio-blk-vfio-pci"),
        ("-set", "drive.a.file=nvme:x"),
        ("-readconfig", "/etc/qemu.cfg"),
        ("-blockdev", "driver=nvme,namespace=1"),
        ("-drive", "file=json:{'driver':'nvme'}"),
        ("nvme:///1",),
        ("json:{",),
    ],
)
def test_what_may_hand_one_over(arguments: tuple[str, ...]) -> None:
    functions, unreadable = read(*arguments)
    assert (functions, len(unreadable)) == ([], 1)
    assert 0 < len(unreadable[0]) <= 80


def test_several_keep_their_order() -> None:
    assert read(
        *("-device", "vfio-pci,host=07:00.0"),
        *("-device", "vfio-pci,host=06:00.0"),
        *("-device", "vfio-pci,host=07:00.0"),
        *("-device", "vfio-pci,host=x"),
        *("-readconfig", "a"),
    ) == (
        ["0000:07:00.0", GPU],
        ("host=x", "-readconfig a"),
    )


@pytest.mark.parametrize(
    ("arguments", "mib"),
    [
        (("-fw_cfg", "name=opt/ovmf/X-PciMmio64Mb,string=65536"), 65536),
        (("--fw_cfg", "opt/ovmf/X-PciMmio64Mb,string=65536"), 65536),
        (("-fw_cfg", "opt/ovmf/X-PciMmio64Mb,file=/size"), None),
        (("-fw_cfg", "opt/ovmf/X-PciMmio64Mb,string=0x100"), None),
        (("-fw_cfg", "opt/other,string=65536"), None),
        (("-fw_cfg", "x" * (1 << 17)), None),
        (("-fw_cfg",), None),
        ((), None),
    ],
)
def test_the_window_that_ovmf_is_told(
    arguments: tuple[str, ...], mib: int | None
) -> None:
    assert qemu_arguments.bar_arguments(arguments).mmio64_mib == mib


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("q35-pcihost.pci-hole64-size=512G", 512 << 30),
        ("i440FX-pcihost.pci-hole64-size=1t", 1 << 40),
        ("q35-pcihost.pci-hole64-size=1073741824", 1 << 30),
        ("driver=q35-pcihost,property=pci-hole64-size,value=2G", 2 << 30),
        ("q35-pcihost.pci-hole64-size=-1", 0),
        ("q35-pcihost.other=512G", 0),
    ],
)
def test_the_hole_of_a_guest(text: str, size: int) -> None:
    found = qemu_arguments.bar_arguments(("-global", text))
    assert found.hole64_bytes == size
    assert not found.sets_cpu


def test_a_cpu_that_is_not_libvirts() -> None:
    arguments = ("-cpu", "host,phys-bits=46")
    assert qemu_arguments.bar_arguments(arguments).sets_cpu
