"""What GRUB reads: its generated menu, and its environment block."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpu_passthrough_plugin.formats import kernel_cmdline

_LINUX = re.compile(r"\s*linux(?:16|efi)?\s+\S+\s*(.*)")
_BLS = re.compile(r"^\s*blscfg\b", re.MULTILINE)
_SECTION = re.compile(r"### (BEGIN|END) /etc/grub\.d/(\S+) ###")
_OWN = "10_linux"


def entries(path: str, text: str | None) -> dict[str, tuple[str, ...]]:
    """Arguments of the host's own kernels, by path and line.

    Not those of other systems, of Xen or of memory tests, which are
    generated from elsewhere.
    """
    found = {}
    lines = (text or "").splitlines()
    is_own = has_sections = False
    for line in lines:
        has_sections = has_sections or bool(_SECTION.match(line))
    for number, line in enumerate(lines, 1):
        section = _SECTION.match(line)
        if section:
            is_own = section[1] == "BEGIN" and section[2].startswith(_OWN)
        linux = _LINUX.fullmatch(line)
        if linux and (is_own or not has_sections):
            found[f"{path}:{number}"] = kernel_cmdline.split(linux[1])
    return found


def is_whole(text: str) -> bool:
    """Whether it is a menu, and not a stub that leads to one."""
    return has_loader_entries(text) or any(
        _LINUX.match(line) for line in text.splitlines()
    )


def has_loader_entries(text: str) -> bool:
    """Whether its entries are files of the boot loader specification."""
    return bool(_BLS.search(text))


def environment(text: str | None) -> Mapping[str, str]:
    """Variables of an environment block.

    Source: GNU GRUB manual, "The GRUB environment block".
    """
    rows = (row.partition("=") for row in (text or "").splitlines())
    return {name: value for name, equals, value in rows if equals}
