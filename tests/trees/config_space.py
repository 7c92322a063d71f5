"""Config spaces of PCI Express ports, byte by byte."""

from __future__ import annotations

_SERIAL_NUMBER = bytes.fromhex("0300012000000000efbeadde")
"""A device serial number at 100h; the next capability is at 120h."""


def port(
    kind: int,
    acs: tuple[int, int] | None = None,
    *,
    size: int = 4096,
    has_serial_number: bool = False,
) -> bytes:
    """Return the config space of a bridge of PCI Express.

    :param kind: of its port: 4 a root port, 5 upstream, 6 downstream.
    :param acs: capability and control of Access Control Services.
    """
    config = bytearray(4096)
    config[:4] = bytes.fromhex("b5109797")
    config[0x06] = 0x10
    config[0x0A:0x0C] = bytes.fromhex("0406")
    config[0x0E] = 1
    config[0x34] = 0x40
    # Power management first, then PCI Express.
    config[0x40:0x44] = bytes.fromhex("01500300")
    config[0x50:0x54] = bytes((0x10, 0x00, kind << 4 | 2, 0x00))
    at = 0x100
    if has_serial_number:
        config[at : at + len(_SERIAL_NUMBER)] = _SERIAL_NUMBER
        config[at + 2 : at + 4] = (0x1200 | 1).to_bytes(2, "little")
        at = 0x120
    if acs is not None:
        header = (0x000D | 1 << 16).to_bytes(4, "little")
        config[at : at + 4] = header
        config[at + 4 : at + 6] = acs[0].to_bytes(2, "little")
        config[at + 6 : at + 8] = acs[1].to_bytes(2, "little")
    return bytes(config[:size])
