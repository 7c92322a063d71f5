"""What configuration files say of Nova's PCI devices, with line numbers.

Source: oslo.config, cfg.py; nova, conf/pci.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import oslo_config_file
from gpu_passthrough_plugin.formats.oslo_config_file import Line, Value

_PCI, _FILTERS = "pci", "filter_scheduler"
_NAME = re.compile(r"\$\{?[_a-zA-Z]")
# Older spellings, in the order in which their values are put before those
# of today's.
_SPELLINGS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "device_spec": (
        ("DEFAULT", "pci_passthrough_whitelist"),
        (_PCI, "passthrough_whitelist"),
        (_PCI, "device_spec"),
    ),
    "alias": (("DEFAULT", "pci_alias"), (_PCI, "alias")),
}


class Options(NamedTuple):
    """What the files say, together; None for what none of them says.

    :param device_spec: in the order in which Nova tries them.
    :param filters: names of ``enabled_filters``.
    """

    device_spec: tuple[Value, ...] = ()
    alias: tuple[Value, ...] = ()
    report_in_placement: bool | None = None
    pci_in_placement: bool | None = None
    filters: tuple[str, ...] | None = None


def read(files: Sequence[tuple[str, bytes]]) -> Options:
    """What files of that name and contents say; a later one is stronger.

    :raises Faults: with each line that is none of oslo.config's, and each
        file that is too large or no text.
    """
    faults: list[str] = []
    read = [oslo_config_file.lines(name, data, faults) for name, data in files]
    lines = [line for found in read for line in found]
    faults += [fault for line in lines if (fault := _substitution(line))]
    if faults:
        raise errors.Faults(tuple(faults))
    filters = _last(lines, _FILTERS, "enabled_filters")
    return Options(
        device_spec=tuple(v for f in read for v in _values(f, "device_spec")),
        alias=tuple(v for f in read for v in _values(f, "alias")),
        report_in_placement=_truth(_last(lines, _PCI, "report_in_placement")),
        pci_in_placement=_truth(_last(lines, _FILTERS, "pci_in_placement")),
        filters=_names(filters),
    )


def _values(lines: Sequence[Line], option: str) -> Iterator[Value]:
    for section, spelled in _SPELLINGS[option]:
        for line in lines:
            if (line.section, line.value.spelled) == (section, spelled):
                yield line.value


def _last(lines: Sequence[Line], section: str, spelled: str) -> str | None:
    found = None
    for line in lines:
        if (line.section, line.value.spelled) == (section, spelled):
            found = line.value.text
    return found


def _substitution(line: Line) -> str:
    """oslo.config puts another option's value where $NAME stands."""
    value = line.value
    is_ours = any(
        (line.section, value.spelled) in named for named in _SPELLINGS.values()
    )
    if not is_ours or not _NAME.search(re.sub(r"\\\$|\$\$", "", value.text)):
        return ""
    return (
        f"{value.place}: {value.spelled} has $NAME in it, which stands for"
        " another option; write the value itself, or $$ for a dollar sign"
    )


def _truth(text: str | None) -> bool | None:
    """Source: oslo.config, types.py (Boolean)."""
    if text is None:
        return None
    return text.strip().lower() in ("true", "1", "on", "yes")


def _names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(name.strip() for name in text.split(",") if name.strip())
