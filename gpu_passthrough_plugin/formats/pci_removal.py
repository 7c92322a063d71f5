"""What takes PCI functions off the bus on purpose, at every boot.

Rules of udev that write to ``remove``, as packages for laptops with two
graphics processors install them, and supergfxd, which switches one off.
Sources: udev(7); openSUSE/SUSEPrime#60, bayasdev/envycontrol#171,
canonical/nvidia-prime#15, OpenGamingCollective/asusctl#344.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import AMD, NVIDIA
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Reads,
)
from gpu_passthrough_plugin.model.reading import Unknown, as_text

SUPERGFXD = "/etc/supergfxd.conf"
_OWN = ("/etc/udev/rules.d", "/run/udev/rules.d")
# Of packages' rules only those whose names say so: there are hundreds.
_PACKAGED = ("/usr/lib/udev/rules.d", "/lib/udev/rules.d")
_NAMES = (
    "nvidia.rules", "nvidia-pm.rules", "-G04.rules", "-G05.rules",
    "-G06.rules", "-G07.rules",
)  # fmt: skip
READS = Reads(
    files=(SUPERGFXD,),
    folders=(
        *(Folder(path, (".rules",)) for path in _OWN),
        *(Folder(path, _NAMES) for path in _PACKAGED),
    ),
)

# More than any file has; a made-up one may have thousands.
_MOST_RULES = 32
_TERM = re.compile(
    r'(?<![A-Z])([A-Z]{1,32}(?:\{[^}"]{1,64}\})?)\s*([=!+:-]?=)\s*"([^"]*)"'
)
_MATCHES = {"==": True, "!=": False}


class Removal(NamedTuple):
    """One thing that removes functions.

    :param line: the line of the file, counted from 1.
    :param terms: key, whether its value is to match, and the value, of a
        rule; those that do not concern a function are left out.
    """

    path: str
    line: int
    text: str
    remedy: str
    terms: tuple[tuple[str, bool, str], ...]

    def covers(self, address: Address, vendor: int, class_code: int) -> bool:
        """Return whether it removes a function of these ids."""
        values: Mapping[str, str] = {
            "KERNEL": str(address),
            "ATTR{vendor}": f"{vendor:#06x}",
            "ATTR{class}": f"{class_code:#08x}",
        }
        return all(
            any(fnmatchcase(values[key], value) for value in text.split("|"))
            is is_equal
            for key, is_equal, text in self.terms
        )

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def removals(installation: Installation) -> Iterator[Removal]:
    """Yield what removes functions on a host, one for each rule."""
    for folder in (*_OWN, *_PACKAGED):
        for path in installation.paths(folder, ".rules"):
            yield from _rules_of(path, _text(installation, path))
    yield from _supergfxd(_text(installation, SUPERGFXD))


def _text(installation: Installation, path: str) -> str:
    content = installation.files.get(path, b"")
    return "" if isinstance(content, Unknown) else as_text(content)


# Asked again for each function that is missing.
@functools.lru_cache(maxsize=64)
def _rules_of(path: str, text: str) -> tuple[Removal, ...]:
    return tuple(itertools.islice(_rules(path, text), _MOST_RULES))


def _rules(path: str, text: str) -> Iterator[Removal]:
    logical, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        first = first if logical else number
        logical += line.strip()
        if logical.endswith("\\"):
            logical = logical[:-1]
            continue
        terms = () if logical.startswith("#") else _TERM.findall(logical)
        if any(term == ("ATTR{remove}", "=", "1") for term in terms):
            yield Removal(
                path,
                first,
                logical,
                f"disable that rule: remove it from {path} or mask the file"
                " with a link to /dev/null of the same name in"
                " /etc/udev/rules.d, rebuild the initramfs and reboot",
                tuple(
                    (key, _MATCHES[operator], value)
                    for key, operator, value in terms
                    if operator in _MATCHES
                    and key in ("KERNEL", "ATTR{vendor}", "ATTR{class}")
                ),
            )
        logical = ""


def _supergfxd(text: str) -> Iterator[Removal]:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        return
    mode = settings.get("mode") if isinstance(settings, dict) else None
    if mode != "Integrated":
        return
    lines = text.split("\n")
    number = next((n for n, x in enumerate(lines, 1) if '"mode"' in x), 1)
    yield Removal(
        SUPERGFXD,
        number,
        f'"mode": "{mode}"',
        "let supergfxd keep the card: run 'supergfxctl --mode Hybrid' (or"
        " Vfio), then reboot",
        (("ATTR{vendor}", True, f"{NVIDIA:#06x}|{AMD:#06x}"),),
    )
