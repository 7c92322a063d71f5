"""What Nova's configuration files set of PCI devices, with line numbers.

Source: oslo.config, cfg.py; nova, conf/pci.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import (
    nova_alias,
    nova_device_spec,
    nova_pci_address,
    oslo_config_file,
)
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.nova_device_spec import DeviceSpec
from gpu_passthrough_plugin.formats.oslo_config_file import Value

T = TypeVar("T")

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


# A host has some dozens of devices that it hands out, a cloud some dozens
# of aliases.
_MAX_ENTRIES = 1000
_NOVA_FAILS = "fix this entry: Nova fails to start with it"
_NOT_TRIED = (
    "use a simpler expression, or one entry per address: which devices this"
    " one matches was not checked"
)


class NovaConf(NamedTuple):
    """What the files set, together; None for what none of them sets.

    :param device_spec: in the order in which Nova tries them.
    :param filters: names of ``enabled_filters``.
    :param cpu_mode: of ``[libvirt]``.
    """

    device_spec: tuple[Value, ...] = ()
    alias: tuple[Value, ...] = ()
    report_in_placement: bool | None = None
    pci_in_placement: bool | None = None
    filters: tuple[str, ...] | None = None
    cpu_mode: str | None = None


class Placed(NamedTuple, Generic[T]):
    """An entry of a file.

    :param place: file and line of the value that it is in.
    :param written: the JSON object that it was read from.
    """

    place: str
    entry: T
    written: Mapping[str, object]


class Fault(NamedTuple):
    """A value or entry that cannot be read, most often not by Nova either."""

    place: str
    text: str
    remedy: str = _NOVA_FAILS


def read(files: Sequence[tuple[str, bytes]]) -> NovaConf:
    """Return what files of these names and contents set; the last one wins.

    :raises Faults: with each line that oslo.config cannot read, and each
        file that is too large or not a text.
    """
    faults: list[str] = []
    by_file = [
        oslo_config_file.read(name, data, faults) for name, data in files
    ]
    values = [value for of_file in by_file for value in of_file]
    faults += [fault for value in values if (fault := _substitution(value))]
    if faults:
        raise errors.Faults(tuple(faults))
    filters = _last(values, _FILTERS, "enabled_filters")
    return NovaConf(
        device_spec=tuple(
            v for f in by_file for v in _values(f, "device_spec")
        ),
        alias=tuple(v for f in by_file for v in _values(f, "alias")),
        report_in_placement=_truth(_last(values, _PCI, "report_in_placement")),
        pci_in_placement=_truth(_last(values, _FILTERS, "pci_in_placement")),
        filters=_names(filters),
        cpu_mode=_last(values, "libvirt", "cpu_mode"),
    )


def device_specs(
    values: Iterable[Value],
) -> tuple[tuple[Placed[DeviceSpec], ...], tuple[Fault, ...]]:
    """Return the entries in the order in which Nova tries them, and faults.

    :raises Invalid: when there are more than any host has devices.
    """

    def not_tried(entry: Mapping[str, object]) -> str:
        return nova_pci_address.too_intricate(entry.get("address"))

    return _entries(
        values, nova_device_spec.load, nova_device_spec.read, not_tried
    )


def aliases(
    values: Iterable[Value],
) -> tuple[tuple[Placed[AliasEntry], ...], tuple[Fault, ...]]:
    """Return the entries in their order, and the faults.

    :raises Invalid: when there are too many to be one cloud's.
    """
    return _entries(
        values, lambda text: [nova_alias.load(text)], nova_alias.read
    )


def _entries(
    values: Iterable[Value],
    load: Callable[[str], Iterable[Mapping[str, object]]],
    read: Callable[[Mapping[str, object]], T],
    not_tried: Callable[[Mapping[str, object]], str] = lambda _: "",
) -> tuple[tuple[Placed[T], ...], tuple[Fault, ...]]:
    entries: list[Placed[T]] = []
    faults: list[Fault] = []
    total = 0
    for value in values:
        try:
            objects = list(load(value.text))
        except errors.Invalid as error:
            objects = []
            faults.append(Fault(value.place, str(error)))
        total += max(len(objects), 1)
        if total > _MAX_ENTRIES:
            raise errors.Invalid(
                f"{value.place}: more than {_MAX_ENTRIES} entries of"
                f" {value.option}"
            )
        for item in objects:
            reason = not_tried(item)
            if reason:
                faults.append(Fault(value.place, reason, _NOT_TRIED))
                continue
            try:
                entries.append(Placed(value.place, read(item), item))
            except errors.Faults as error:
                faults += (Fault(value.place, text) for text in error.faults)
    return tuple(entries), tuple(faults)


def _values(values: Sequence[Value], option: str) -> Iterator[Value]:
    for spelling in _SPELLINGS[option]:
        for value in values:
            if (value.section, value.option) == spelling:
                yield value


def _last(values: Sequence[Value], section: str, option: str) -> str | None:
    text = None
    for value in values:
        if (value.section, value.option) == (section, option):
            text = value.text
    return text


def _substitution(value: Value) -> str:
    """Return a fault for $NAME, which oslo.config replaces; or nothing."""
    is_read = any(
        (value.section, value.option) in names for names in _SPELLINGS.values()
    )
    if not is_read or not _NAME.search(re.sub(r"\\\$|\$\$", "", value.text)):
        return ""
    return (
        f"{value.place}: {value.option} contains $NAME, which oslo.config"
        " replaces by another option; write the value itself, or $$ for a"
        " dollar sign"
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
