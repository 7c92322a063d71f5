from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats import pci_config
from gpu_passthrough_plugin.formats.pci_config import Acs, Port, PortType
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees import config_space

ALL = (0x5F, 0x1D)
OFF = (0x5F, 0x00)


@pytest.mark.parametrize(
    ("acs", "isolates"),
    [
        (ALL, True),
        (OFF, False),
        ((0x5F, 0x0C), False),
        # What a port cannot do, it need not have on.
        ((0x01, 0x01), True),
        (None, False),
    ],
)
@pytest.mark.parametrize("kind", [PortType.ROOT, PortType.DOWNSTREAM])
def test_a_port(
    kind: int, acs: tuple[int, int] | None, *, isolates: bool
) -> None:
    for has_serial_number in (False, True):
        config = config_space.port(
            kind, acs, has_serial_number=has_serial_number
        )
        port = pci_config.port(config)
        assert isinstance(port, Port) and port.kind == kind
        assert port.acs == (None if acs is None else Acs(*acs))
        assert port.isolates is isolates


@pytest.mark.parametrize("size", [64 + 32, 256, 0x102])
def test_a_part_that_everyone_may_read_leaves_acs_unknown(size: int) -> None:
    port = pci_config.port(config_space.port(6, ALL, size=size))
    assert isinstance(port, Port)
    assert isinstance(port.acs, Unknown)
    assert isinstance(port.isolates, Unknown)


@pytest.mark.parametrize("size", [0, 63, 64, 0x52])
def test_capabilities_beyond_what_was_read(size: int) -> None:
    """lspci's -x, and what files for users have: 64 bytes."""
    port = pci_config.port(config_space.port(6, ALL, size=size))
    assert isinstance(port, Unknown)
    assert f"{size} bytes" in port.detail


def test_extended_capabilities_beyond_what_was_read() -> None:
    config = config_space.port(6, ALL, has_serial_number=True)
    for size in (0x110, 0x122):
        port = pci_config.port(config[:size])
        assert isinstance(port, Port)
        assert isinstance(port.acs, Unknown)


def test_a_bridge_that_is_no_port_of_pci_express() -> None:
    """PCI to PCI, with a list of capabilities or without one."""
    config = bytearray(config_space.port(6))
    config[0x41] = 0
    assert pci_config.port(bytes(config)) is None
    config[0x06] = 0
    assert pci_config.port(bytes(config)[:64]) is None


def test_a_bridge_that_does_not_answer_is_unknown() -> None:
    assert isinstance(pci_config.port(b"\xff" * 4096), Unknown)


def test_what_is_recorded_has_no_serial_number() -> None:
    config = config_space.port(6, ALL, has_serial_number=True)
    assert bytes.fromhex("efbeadde") in config
    kept = pci_config.reduced(config)
    assert bytes.fromhex("efbeadde") not in kept
    assert len(kept) == len(config)
    assert kept[:64] == config[:64]
    assert pci_config.port(kept) == pci_config.port(config)


@given(st.binary(max_size=4096))
def test_any_bytes_are_read_and_reduced(config: bytes) -> None:
    kept = pci_config.reduced(config)
    assert len(kept) == len(config)
    assert pci_config.port(kept) == pci_config.port(config)
