"""vfio's numbers, held against the kernel's own header."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import vfio
from gpu_passthrough_plugin.model import address

# Of linux-libc-dev, which every C compiler brings along.
HEADER = Path("/usr/include/linux/vfio.h")
NUMBERS = {
    "VFIO_SET_IOMMU": vfio._SET_IOMMU,
    "VFIO_GROUP_GET_STATUS": vfio._GROUP_GET_STATUS,
    "VFIO_GROUP_SET_CONTAINER": vfio._GROUP_SET_CONTAINER,
    "VFIO_GROUP_GET_DEVICE_FD": vfio._GROUP_GET_DEVICE_FD,
    "VFIO_DEVICE_PCI_HOT_RESET": vfio._DEVICE_PCI_HOT_RESET,
}


def test_the_numbers_are_the_kernels() -> None:
    text = HEADER.read_text()
    assert "#define VFIO_TYPE\t(';')" in text
    assert "#define VFIO_BASE\t100" in text
    for name, number in NUMBERS.items():
        found = re.search(
            rf"#define {name}\s+_IO\(VFIO_TYPE, VFIO_BASE \+ (\d+)\)", text
        )
        assert found is not None, name
        # Source: kernel, include/uapi/asm-generic/ioctl.h: _IO is the type
        # in the second byte and the number in the first.
        assert number == ord(";") << 8 | (100 + int(found[1])), name
    assert re.search(r"#define VFIO_TYPE1_IOMMU\s+1\n", text)
    assert "#define VFIO_GROUP_FLAGS_VIABLE\t\t(1 << 0)" in text


def test_a_group_that_is_not_there() -> None:
    with pytest.raises(errors.Unavailable) as caught:
        vfio.hot_reset(address.parse("06:00.0"), 999_999)
    assert str(caught.value).startswith("bus reset of 0000:06:00.0 failed: ")
    assert "/dev/vfio/" in str(caught.value)
