from __future__ import annotations

from gpu_passthrough_plugin.formats import modules_alias
from gpu_passthrough_plugin.model.reading import as_text

ALIASES = b"""\
# Aliases extracted from modules themselves.
alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau
alias pci:v000010DEd00001430sv*sd*bc*sc*i* nvidia
alias pci:v00001002d*sv*sd*bc03sc*i* amdgpu
alias pci:v*d*sv*sd*bc0Csc03i30* xhci_pci
alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci
alias vfio_pci:v000010DEd00002342sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci
alias vfio_pci:broken
"""
CARD = "pci:v000010DEd00001430sv000010DEsd00001190bc03sc00i00"


def test_which_lines_match_a_function() -> None:
    lines = modules_alias.matching(ALIASES, CARD)
    assert {line.split()[2] for line in lines} == {"nouveau", "nvidia"}
    usb = "pci:v00008086d0000A36Dsv0sd0bc0Csc03i30"
    assert [
        line.split()[2] for line in modules_alias.matching(ALIASES, usb)
    ] == ["xhci_pci"]
    assert modules_alias.matching(ALIASES, "usb:v1D6Bp0002") == []


def test_a_modalias_that_is_not_utf_8() -> None:
    line = b"alias pci:v000010DEd0000\xff* nouveau\n"
    modalias = as_text(b"pci:v000010DEd0000\xff")
    for text in (modalias, f"{modalias}\udcfe", "pci:v\udcff"):
        modules_alias.matching(ALIASES, text)
    (found,) = modules_alias.matching(line, modalias)
    assert found.split()[2] == "nouveau"


def test_which_modules_are_vfio_drivers() -> None:
    assert modules_alias.vfio_drivers(ALIASES) == {
        "mlx5_vfio_pci",
        "nvgrace_gpu_vfio_pci",
    }
    assert modules_alias.vfio_drivers(b"") == frozenset()
