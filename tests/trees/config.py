"""What a function's attributes hold, from a few words."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_FLAGS = {False: 0x0004_0200, True: 0x0014_2204}


def space(
    ids: str, class_code: str, revision: int, header: int, subsystem: str
) -> bytes:
    """The first 64 bytes of config space."""
    head = struct.pack(
        "<HHHHB3sBBBB",
        *_numbers(ids),
        0x0006,
        0x0010,
        revision,
        bytes.fromhex(class_code)[::-1],
        0x10,
        0,
        header,
        0,
    )
    tail = struct.pack("<HH", *_numbers(subsystem))
    return (head + bytes(28) + (bytes(4) if header else tail)).ljust(64, b"\0")


def resource(bars: Sequence[int]) -> str:
    """Six base address registers and the ROM, from 3 GiB up."""
    lines = []
    at = 0xC000_0000
    for size in [*bars, *[0] * (7 - len(bars))]:
        at = (at + size - 1) // size * size if size else at
        last, flags = at + size - 1, _FLAGS[size > 32 << 20]
        row = (at, last, flags) if size else (0, 0, 0)
        lines.append(" ".join(f"{number:#018x}" for number in row))
        at += size
    return "".join(f"{line}\n" for line in lines)


def ids(ids: str, class_code: str, subsystem: str) -> dict[str, str]:
    """The attributes that hold one id each."""
    vendor, product = ids.split(":")
    subvendor, subproduct = subsystem.split(":")
    return {
        "class": f"0x{class_code}\n",
        "vendor": f"0x{vendor}\n",
        "device": f"0x{product}\n",
        "subsystem_vendor": f"0x{subvendor}\n",
        "subsystem_device": f"0x{subproduct}\n",
        "modalias": f"{_modalias(ids, class_code, subsystem)}\n",
    }


def uevent(
    address: str,
    ids: str,
    class_code: str,
    subsystem: str,
    driver: str | None,
) -> dict[str, str]:
    """The properties, in the kernel's order."""
    pairs = {"DRIVER": driver} if driver else {}
    return {
        **pairs,
        "PCI_CLASS": f"{int(class_code, 16):04X}",
        "PCI_ID": ids.upper(),
        "PCI_SUBSYS_ID": subsystem.upper(),
        "PCI_SLOT_NAME": address,
        "MODALIAS": _modalias(ids, class_code, subsystem),
    }


def _modalias(ids: str, class_code: str, subsystem: str) -> str:
    vendor, product = _numbers(ids)
    subvendor, subproduct = _numbers(subsystem)
    code = class_code.upper()
    return (
        f"pci:v{vendor:08X}d{product:08X}sv{subvendor:08X}sd{subproduct:08X}"
        f"bc{code[:2]}sc{code[2:4]}i{code[4:]}"
    )


def _numbers(pair: str) -> tuple[int, int]:
    first, second = (int(part, 16) for part in pair.split(":"))
    return first, second
