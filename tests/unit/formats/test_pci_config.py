from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats import pci_config
from gpu_passthrough_plugin.formats.pci_config import Acs, PortType
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
        assert port is not None and port.kind == kind
        assert port.acs == (None if acs is None else Acs(*acs))
        assert port.isolates is isolates


@pytest.mark.parametrize("size", [64 + 32, 256])
def test_a_part_that_everyone_may_read_leaves_acs_unknown(size: int) -> None:
    port = pci_config.port(config_space.port(6, ALL, size=size))
    assert port is not None
    assert isinstance(port.acs, Unknown)
    assert isinstance(port.isolates, Unknown)


def test_a_bridge_that_is_no_port_of_pci_express() -> None:
    assert pci_config.port(config_space.port(6, size=64)) is None
    assert pci_config.port(b"") is None
    assert pci_config.port(b"\xff" * 4096) is None


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
