"""Config space as lspci reads it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from gpu_passthrough_plugin.formats import pci_config
from gpu_passthrough_plugin.formats.pci_config import Acs, Port
from tests.trees import config_space

# lspci's names of the bits, from the lowest.
BITS = ("SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd",
        "EgressCtrl", "DirectTrans")  # fmt: skip
KINDS = {4: "Root Port", 5: "Upstream Port", 6: "Downstream Port"}


def dump(config: bytes) -> str:
    """The text that ``lspci -xxxx`` prints."""
    lines = ["00:02.0 PCI bridge: a port"]
    for at in range(0, len(config), 16):
        row = " ".join(f"{byte:02x}" for byte in config[at : at + 16])
        lines.append(f"{at:02x}: {row}")
    return "\n".join(lines) + "\n\n"


def bits(text: str, name: str) -> int:
    (line,) = re.findall(rf"{name}:\s+(.*)", text)
    return sum(
        1 << number
        for number, bit in enumerate(BITS)
        if f"{bit}+" in line.split()
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("acs", [None, (0x5F, 0x1D), (0x1F, 0x00), (1, 1)])
def test_lspci_reads_the_same(
    tmp_path: Path, kind: int, acs: tuple[int, int] | None
) -> None:
    config = config_space.port(kind, acs, has_serial_number=True)
    for data in (config, pci_config.reduced(config)):
        path = tmp_path / "dump"
        path.write_text(dump(data))
        text = subprocess.run(
            ["lspci", "-vvv", "-F", str(path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        ours = pci_config.port(data)
        assert isinstance(ours, Port) and KINDS[ours.kind] in text
        if acs is None:
            assert "ACSCap" not in text and ours.acs is None
        else:
            theirs = Acs(bits(text, "ACSCap"), bits(text, "ACSCtl"))
            assert ours.acs == theirs
