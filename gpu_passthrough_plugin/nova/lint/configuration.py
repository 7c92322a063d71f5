"""What Nova's configuration files set of PCI devices, with line numbers.

Source: oslo.config, cfg.py; nova, conf/pci.py,
conf/scheduler.py and conf/libvirt.py.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import (
    nova_alias,
    nova_device_spec,
    nova_entry,
    nova_pci_address,
    oslo_config_file,
)
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.nova_device_spec import DeviceSpec
from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release
from gpu_passthrough_plugin.formats.oslo_config_file import Value
from gpu_passthrough_plugin.nova.control_plane import DEFAULT_FILTERS

T = TypeVar("T")

PCI, SCHEDULER, _LIBVIRT = "pci", "filter_scheduler", "libvirt"
REPORT = (PCI, "report_in_placement")
PLACED = (SCHEDULER, "pci_in_placement")
ENABLED = (SCHEDULER, "enabled_filters")
AVAILABLE = (SCHEDULER, "available_filters")
WEIGHERS = (SCHEDULER, "weight_classes")
# nova-compute has to be told it, too.  Source: nova, compute/manager.py.
_OF_COMPUTE = "track_instance_changes"
CPU_MODE = (_LIBVIRT, "cpu_mode")
POST_COPY = (_LIBVIRT, "live_migration_permit_post_copy")

_NAME = re.compile(r"\$\{?[_a-zA-Z]")
SPELLINGS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "device_spec": (
        ("DEFAULT", "pci_passthrough_whitelist"),
        (PCI, "passthrough_whitelist"),
        (PCI, "device_spec"),
    ),
    "alias": (("DEFAULT", "pci_alias"), (PCI, "alias")),
}
"""Older spellings, in the order in which their values are put before those
of today's."""

# Nova's type of each option, and what a value has to be.
_TYPES: Mapping[tuple[str, str], tuple[Callable[[str], Any], str]] = {
    REPORT: (oslo_config_file.boolean, "true or false"),
    PLACED: (oslo_config_file.boolean, "true or false"),
    POST_COPY: (oslo_config_file.boolean, "true or false"),
    ENABLED: (oslo_config_file.names, "names of filters"),
    WEIGHERS: (oslo_config_file.names, "paths of weighers"),
    CPU_MODE: (
        oslo_config_file.one_of(
            ("host-model", "host-passthrough", "custom", "none")
        ),
        "host-model, host-passthrough, custom or none",
    ),
}
_READ = frozenset(
    {*_TYPES, AVAILABLE, *(name for n in SPELLINGS.values() for name in n)}
)

# A host has some dozens of devices that it hands out, a cloud some dozens
# of aliases.
_MAX_ENTRIES = 1000
_NOVA_FAILS = "fix this entry: Nova fails to start with it"
_NOT_TRIED = (
    "use a simpler expression, or one entry per address: which devices this"
    " one matches was not checked"
)


class Fault(NamedTuple):
    """A value or entry that cannot be read, most often not by Nova either."""

    place: str
    text: str
    remedy: str = _NOVA_FAILS


class NovaConf(NamedTuple):
    """What Nova reads in the files together, with its defaults.

    :param device_spec: in the order in which Nova tries them.
    :param has_scheduler: whether a file sets anything of the scheduler: only
        then its other options have their defaults there, too.
    :param enabled_filters: None where no file sets them, as
        ``available_filters`` and ``cpu_mode``.
    :param values: everything that is set.
    :param faults: of values that are not what the option's type takes.
    """

    device_spec: tuple[Value, ...] = ()
    alias: tuple[Value, ...] = ()
    report_in_placement: bool = False
    pci_in_placement: bool = False
    has_scheduler: bool = False
    enabled_filters: tuple[str, ...] | None = None
    available_filters: tuple[str, ...] | None = None
    weight_classes: tuple[str, ...] = ()
    cpu_mode: str | None = None
    permits_post_copy: bool = False
    values: tuple[Value, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def filters(self) -> tuple[str, ...]:
        """Return the filters in force: Nova's default if no file sets them.

        An empty ``enabled_filters`` turns all of them off.
        """
        names = self.enabled_filters
        return DEFAULT_FILTERS if names is None else names

    def place(self, option: tuple[str, str]) -> str:
        """Return where an option is set; empty where it is not."""
        value = _last(self.values, option)
        return "" if value is None else value.place


class Placed(NamedTuple, Generic[T]):
    """An entry of a file.

    :param place: file and line of the value that it is in.
    :param written: the JSON object that it was read from.
    """

    place: str
    entry: T
    written: Mapping[str, object]


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
    wrong: list[Fault] = []
    typed = {option: _typed(values, option, wrong) for option in _TYPES}
    available = tuple(
        v.text for v in values if (v.section, v.option) == AVAILABLE
    )
    return NovaConf(
        device_spec=tuple(
            v for f in by_file for v in _spelled(f, "device_spec")
        ),
        alias=tuple(v for f in by_file for v in _spelled(f, "alias")),
        report_in_placement=typed[REPORT] or False,
        pci_in_placement=typed[PLACED] or False,
        has_scheduler=any(
            value.section == SCHEDULER and value.option != _OF_COMPUTE
            for value in values
        ),
        enabled_filters=typed[ENABLED],
        available_filters=available or None,
        weight_classes=typed[WEIGHERS] or (),
        cpu_mode=typed[CPU_MODE],
        permits_post_copy=typed[POST_COPY] or False,
        values=tuple(values),
        faults=tuple(wrong),
    )


def device_specs(
    values: Iterable[Value], release: Release = NEWEST
) -> tuple[tuple[Placed[DeviceSpec], ...], tuple[Fault, ...]]:
    """Return the entries in the order in which Nova tries them, and faults.

    :raises Invalid: when there are more than any host has devices.
    """

    def not_tried(entry: Mapping[str, object]) -> str:
        return nova_pci_address.too_intricate(entry.get("address"))

    return _entries(
        values,
        nova_device_spec.load,
        functools.partial(nova_device_spec.read, release=release),
        not_tried,
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


def _spelled(values: Sequence[Value], option: str) -> Iterator[Value]:
    for spelling in SPELLINGS[option]:
        for value in values:
            if (value.section, value.option) == spelling:
                yield value


def _last(values: Sequence[Value], option: tuple[str, str]) -> Value | None:
    last = None
    for value in values:
        if (value.section, value.option) == option:
            last = value
    return last


def _substitution(value: Value) -> str:
    """Return a fault for $NAME, which oslo.config replaces; or nothing."""
    is_read = (value.section, value.option) in _READ
    if not is_read or not _NAME.search(re.sub(r"\\\$|\$\$", "", value.text)):
        return ""
    return (
        f"{value.place}: {value.option} contains $NAME, which oslo.config"
        " replaces by another option; write the value itself, or $$ for a"
        " dollar sign"
    )


def _typed(
    values: Sequence[Value], option: tuple[str, str], faults: list[Fault]
) -> Any:
    """Return the last value of an option in its type; None if there is none.

    oslo.config looks at no other; a value that is not valid is a fault.
    """
    value = _last(values, option)
    if value is None:
        return None
    parse, expected = _TYPES[option]
    try:
        return parse(value.text)
    except ValueError:
        text = nova_entry.not_valid(value.option, value.text, expected)
        remedy = "fix this value: Nova fails to start with it"
        faults.append(Fault(value.place, text, remedy))
        return None
