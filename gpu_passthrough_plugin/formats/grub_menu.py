"""What GRUB reads when it starts: its menu and its environment block.

Source: GNU GRUB manual, "Writing your own configuration file" and "The GRUB
environment block"; GRUB, util/grub.d/10_linux.in, grub-core/lib/envblk.c.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpu_passthrough_plugin.formats import kernel_cmdline

_LINUX = re.compile(r"\s*linux(?:16|efi)?\s+\S+\s*(.*)")
_BLSCFG = re.compile(r"^[ \t]*blscfg\b", re.MULTILINE)
_SECTION = re.compile(r"### (BEGIN|END) /etc/grub\.d/(\S+) ###")
_OWN_SECTION = "10_linux"
_SIGNATURE = "# GRUB Environment Block\n"
# A comment, or a name and its value; a backslash continues either.
_ENTRY = re.compile(
    r"#(?:\\.|[^\\\n])*(?:\n|\Z)|(?P<name>[^=#][^=]*|)="
    r"(?P<value>(?:\\.|[^\\\n])*)\n",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def kernel_arguments(path: str, text: str) -> dict[str, tuple[str, ...]]:
    """Return the arguments of the host's own kernels, by path and line.

    Entries of other systems, of Xen and of memory tests are left out: other
    scripts than 10_linux write them.

    :param path: of the menu; only for the keys.
    """
    lines = text.split("\n")
    has_sections = any(map(_SECTION.match, lines))
    is_own = not has_sections
    arguments: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        section = _SECTION.match(line)
        if section:
            is_begun = section[1] == "BEGIN"
            is_own = is_begun and section[2].startswith(_OWN_SECTION)
        linux = _LINUX.fullmatch(line)
        if linux and is_own:
            arguments[f"{path}:{number}"] = kernel_cmdline.split(linux[1])
    return arguments


def is_menu(text: str) -> bool:
    """Return whether it has entries; a stub only leads to another file."""
    return has_loader_entries(text) or any(map(_LINUX.match, text.split("\n")))


def has_loader_entries(text: str) -> bool:
    """Return whether its entries are files as in ``loader_entries``."""
    return bool(_BLSCFG.search(text))


def environment(block: str) -> Mapping[str, str]:
    """Return the variables of an environment block by name.

    A text without the block's signature has none, as for grub-editenv.
    """
    values: dict[str, str] = {}
    at = len(_SIGNATURE) if block.startswith(_SIGNATURE) else len(block)
    while entry := _ENTRY.match(block, at):
        if entry["name"] is not None:
            values[entry["name"]] = _ESCAPE.sub(r"\1", entry["value"])
        at = entry.end()
    return values
