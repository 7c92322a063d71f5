"""QEMU's own arguments hand over what QEMU itself says that they do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats import qemu_arguments

QEMU = "qemu-system-x86_64"
# What it says of a function that is not there, or is in no group.
_LOOKED_FOR = re.compile(
    r"vfio (?:/\S*/)?([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]):"
    r" (?:no such host device|no iommu_group found)"
)
_MDEV = "c2177883-f1bb-47f0-914d-32a22e3a8804"

pytestmark = pytest.mark.skipif(
    shutil.which(QEMU) is None, reason=f"{QEMU} is not installed"
)


def looked_for(*arguments: str) -> list[str] | None:
    """The function that QEMU looks for; None when it refuses the arguments."""
    done = subprocess.run(
        (
            *(QEMU, "-machine", "q35", "-nodefaults", "-display", "none"),
            *("-m", "16", "-S", *arguments),
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    functions = _LOOKED_FOR.findall(done.stderr)
    if functions:
        return functions
    return [] if _MDEV in done.stderr else None


def read(*arguments: str) -> list[str] | None:
    """What is read; None where it is doubtful."""
    functions, unreadable = qemu_arguments.host_functions(arguments)
    if unreadable:
        return None
    return [str(address) for address in functions]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-device", "vfio-pci,host=0000:ee:00.0"),
        ("--device", "vfio-pci,host=ee:0.1"),
        ("-device", "host=ee:00.0,driver=vfio-pci"),
        ("-device", "vfio-pci,host=ed:00.0,host=ee:00.0"),
        ("-device", "vfio-pci,romfile=/a,,b,host=ee:00.0"),
        ("-device", "vfio-pci,sysfsdev=/sys/bus/pci/devices/0000:ee:00.0"),
        ("-device", f"vfio-pci,sysfsdev=/sys/bus/mdev/devices/{_MDEV}"),
        ("-device", "vfio-pci-nohotplug,host=ee:00.0"),
        ("-device", r'{"driver":"\u0076fio-pci","host":"0000:ee:00.0"}'),
        (
            "-global",
            "vfio-pci.x-no-mmap=on",
            "-device",
            "vfio-pci,host=ee:0.0",
        ),
    ],
)
def test_what_is_certain(arguments: tuple[str, ...]) -> None:
    expected = looked_for(*arguments)
    assert expected is not None
    assert read(*arguments) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("-device", "vfio-pci"),
        ("-device", "vfio-pci,host=0xee:00.0"),
        ("-device", "{'driver':'vfio-pci','host':'ee:00.0'}"),
        ("-global", "vfio-pci.host=ee:00.0", "-device", "vfio-pci"),
        # No host device of libvirt's, whatever it is called.
        (
            *("-device", "usb-host,id=hostdev0,host=ee:00.0"),
            *("-set", "device.hostdev0.driver=vfio-pci"),
        ),
        (
            *("-device", "vfio-pci,id=x,host=ed:00.0"),
            *("-set", "device.x.host=ee:00.0"),
        ),
    ],
)
def test_what_is_doubtful(arguments: tuple[str, ...]) -> None:
    assert read(*arguments) is None


def test_a_model_is_known_by_its_very_name() -> None:
    arguments = ("-device", "VFIO-PCI,host=ee:00.0")
    assert (looked_for(*arguments), read(*arguments)) == (None, [])


hosts = st.from_regex(
    r"([0-9a-f]{0,5}:)?[0-9a-f]{1,3}:[0-9a-f]{1,2}\.[0-9]", fullmatch=True
)


@settings(max_examples=25, deadline=None)
@given(host=hosts, more=st.sampled_from(["", ",id=a", ",x-no-mmap=on"]))
def test_any_address(host: str, more: str) -> None:
    arguments = ("-device", f"vfio-pci,host={host}{more}")
    expected = looked_for(*arguments)
    if expected is not None:
        assert read(*arguments) == expected


lasts = st.sampled_from(["0000:ee:00.0", "0000:ed:1f.7", _MDEV])
paths = st.builds(
    "{}/{}".format,
    st.sampled_from(
        [
            "/sys/bus/pci/devices",
            "/sys/bus/pci/devices/0000:00:02.0",
            "/sys/devices/pci0000:ec/0000:ec:00.0",
            "/sys/class/mdev_bus/0000:00:02.0",
            "/mdev",
        ]
    ),
    lasts,
)
properties = st.fixed_dictionaries(
    {"driver": st.sampled_from(["vfio-pci", "vfio-pci-nohotplug"])},
    optional={
        "host": hosts | st.just("0000:ee:00.0"),
        "sysfsdev": paths,
        "id": st.sampled_from(["hostdev0", "mdev"]),
        "romfile": st.sampled_from(["/mdev/a.rom", "/0000:ed:00.0"]),
        "x-no-mmap": st.just("on"),
    },
)


@settings(max_examples=25, deadline=None)
@given(given=properties, is_json=st.booleans())
def test_any_properties(given: dict[str, str], is_json: bool) -> None:
    """Of two that name a function, QEMU takes the path in sysfs."""
    text = ",".join(f"{name}={value}" for name, value in given.items())
    arguments = ("-device", json.dumps(given) if is_json else text)
    expected = looked_for(*arguments)
    if expected is not None:
        assert read(*arguments) == expected
