"""What is wrong with the options themselves, and how they go together.

Source: nova, conf/pci.py, conf/scheduler.py, scheduler/host_manager.py and
scheduler/filters of the last point release of each series, 26.3.0 to 34.0.0.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from gpu_passthrough_plugin.formats.nova_release import Feature, Release
from gpu_passthrough_plugin.formats.oslo_config_file import DEFAULT, Value
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.nova.control_plane import (
    DEFAULT_FILTERS,
    GROUP_FILTER,
    GROUP_FILTER_PATH,
    NOVAS_FILTERS,
    NOVAS_WEIGHERS,
    PCI_FILTER,
    WEIGHER,
)
from gpu_passthrough_plugin.nova.lint import configuration
from gpu_passthrough_plugin.nova.lint.configuration import NovaConf
from gpu_passthrough_plugin.nova.lint.device_spec_rules import REPORTING
from gpu_passthrough_plugin.nova.lint.host_view import (
    Condition,
    HostView,
    Problem,
    Rule,
)

OPTIONS, PLACEMENT, FILTERS = "options", "placement", "filters"

FAIL, WARN = Status.FAIL, Status.WARN

# Every option of [pci], the same in each release, and the section of each
# option that is often set in another.
_PCI_OPTIONS = frozenset(
    option
    for names in configuration.SPELLINGS.values()
    for section, option in names
    if section == configuration.PCI
) | {configuration.REPORT[1]}
_SECTIONS: Mapping[str, str] = {
    **dict.fromkeys(_PCI_OPTIONS, configuration.PCI),
    configuration.PLACED[1]: configuration.SCHEDULER,
}
# Sections in which they are looked for; any other may be another program's.
_SEARCHED = frozenset(
    {
        DEFAULT,
        configuration.PCI,
        configuration.SCHEDULER,
        "scheduler",
        "compute",
        "libvirt",
        "placement",
    }
)
# What is so near to a name is that name, misspelt.
_NEAR = 0.85

# Of all releases here, and of some.
_NOVAS_FILTERS = frozenset(
    {
        "AggregateImagePropertiesIsolation",
        "AggregateInstanceExtraSpecsFilter",
        "AggregateIoOpsFilter",
        "AggregateMultiTenancyIsolation",
        "AggregateNumInstancesFilter",
        "AggregateTypeAffinityFilter",
        "AllHostsFilter",
        "ComputeCapabilitiesFilter",
        "ComputeFilter",
        "DifferentHostFilter",
        "ImagePropertiesFilter",
        "IoOpsFilter",
        "IsolatedHostsFilter",
        "JsonFilter",
        "MetricsFilter",
        "NUMATopologyFilter",
        "NumInstancesFilter",
        "PciPassthroughFilter",
        "SameHostFilter",
        "ServerGroupAffinityFilter",
        "ServerGroupAntiAffinityFilter",
        "SimpleCIDRAffinityFilter",
    }
)
_LAST_RELEASE: Mapping[str, int] = {"AvailabilityZoneFilter": 27}

# What nova-scheduler loads by the path of a class, or of a function that
# returns classes: the package of Nova's own, and this project's path.
_FILTER = re.compile(r"nova\.scheduler\.filters\.[a-z_]+\.(\w+)")
_WEIGHER = re.compile(r"nova\.scheduler\.weights\.[a-z_]+\.([A-Z]\w*)")
_PATH = re.compile(r"\w+(\.\w+)+")
_OWN = "gpu_passthrough_plugin"
_FILTER_PATHS = (NOVAS_FILTERS, GROUP_FILTER_PATH)
_WEIGHER_PATHS = (NOVAS_WEIGHERS, WEIGHER)
_EACH_ON_A_LINE = (
    f"expected {' or '.join(_FILTER_PATHS)}, or another project's filter, each"
    " as a line of its own"
)
_WEIGHERS = (
    f"expected {' or '.join(_WEIGHER_PATHS)}, or another project's weigher"
)


def _wrong_values(view: HostView) -> Iterator[Problem]:
    for fault in view.conf.faults:
        yield fault.place, (fault.text, fault.remedy)


def _unknown_options(view: HostView) -> Iterator[Problem]:
    for value in view.conf.values:
        hint = _hint(value)
        if hint:
            yield value.place, (value.section, value.option, hint)


def _hint(value: Value) -> str:
    """Return what is meant by an option that Nova ignores, or nothing."""
    section = _SECTIONS.get(value.option)
    if section == value.section or value.section not in _SEARCHED:
        return ""
    if section is not None:
        return f"set it in [{section}]"
    names = [name for name, s in _SECTIONS.items() if s == value.section]
    near = difflib.get_close_matches(value.option, names, 1, _NEAR)
    if near:
        return f"the option is {near[0]}"
    if value.section == configuration.PCI:
        return (
            f"remove it; the options of [pci] are {', '.join(sorted(names))}"
        )
    return ""


def _later_option(view: HostView) -> Iterator[Problem]:
    if view.conf.pci_in_placement:
        yield view.conf.place(configuration.PLACED), (view.release,)


def _no_device_spec(view: HostView) -> Iterator[Problem]:
    if view.conf.alias and not view.conf.device_spec:
        yield view.conf.alias[0].place, ()


def _post_copy(view: HostView) -> Iterator[Problem]:
    """Yield where post-copy is permitted with live_migratable functions.

    Source: nova, virt/libvirt/driver.py (_handle_live_migration_post_copy);
    qemu bf7ef7a2da3e ("Block VFIO migration with postcopy migration").
    """
    movable = any(entry.spec.live_migratable for entry in view.listed)
    if view.conf.permits_post_copy and movable:
        yield view.conf.place(configuration.POST_COPY), ()


def _unreported(view: HostView) -> Iterator[Problem]:
    """Yield where the scheduler asks for what nova-compute never reports.

    A file without a device_spec is not nova-compute's.
    """
    if view.conf.device_spec:
        yield view.conf.place(configuration.PLACED), ()


def _undecided(view: HostView) -> Iterator[Problem]:
    yield view.conf.place(configuration.REPORT), ()


def _unavailable(view: HostView) -> Iterator[Problem]:
    conf = view.conf
    if not conf.has_scheduler:
        return
    available = _available(conf, view.release)
    names = [
        name
        for name in conf.filters
        if available is not None and name not in available
    ]
    if names:
        remedy = _remedy(names, conf, view.release)
        yield _scheduler_place(conf), (", ".join(names), remedy)


def _available(conf: NovaConf, release: Release) -> frozenset[str] | None:
    """Return the filters that can be enabled; None if that is not known."""
    names: set[str] = set()
    for path in conf.available_filters or (NOVAS_FILTERS,):
        last = path.rpartition(".")[2]
        if path == NOVAS_FILTERS:
            names |= novas_filters(release)
        elif not last[:1].isupper():
            # A function that returns classes.
            return None
        else:
            names.add(last)
    return frozenset(names)


def _not_importable(view: HostView) -> Iterator[Problem]:
    """Yield paths of filters and weighers that nova-scheduler cannot load."""
    for value in view.conf.values:
        if (value.section, value.option) == configuration.AVAILABLE:
            path = value.text
            match = _FILTER.fullmatch(path)
            is_novas = match and match[1] in novas_filters(view.release)
            if not is_novas and _is_wrong(path, _FILTER_PATHS):
                yield value.place, (value.option, path, _EACH_ON_A_LINE)
    place = view.conf.place(configuration.WEIGHERS)
    for path in view.conf.weight_classes:
        if not _WEIGHER.fullmatch(path) and _is_wrong(path, _WEIGHER_PATHS):
            yield place, (configuration.WEIGHERS[1], path, _WEIGHERS)


def _is_wrong(path: str, right: Sequence[str]) -> bool:
    """Return whether nobody has it; another project's may be installed."""
    is_ours = path.partition(".")[0] in ("nova", _OWN)
    return path not in right and (is_ours or not _PATH.fullmatch(path))


def novas_filters(release: Release) -> frozenset[str]:
    """Return the filters that a release of Nova has."""
    return _NOVAS_FILTERS | {
        name for name, last in _LAST_RELEASE.items() if release.number <= last
    }


def _remedy(names: Sequence[str], conf: NovaConf, release: Release) -> str:
    """Return the line that makes each name available, or to remove it."""
    lines = []
    if GROUP_FILTER in names:
        lines.append(f"available_filters = {GROUP_FILTER_PATH}")
    if any(name in novas_filters(release) for name in names) or (
        lines and not conf.available_filters
    ):
        lines.insert(0, f"available_filters = {NOVAS_FILTERS}")
    loadable = novas_filters(release) | {GROUP_FILTER}
    others = [name for name in names if name not in loadable]
    texts = [f"add {' and '.join(lines)}"] if lines else []
    if others:
        texts.append(f"remove {', '.join(others)} from enabled_filters")
    return "; ".join(texts)


def _no_pci_filter(view: HostView) -> Iterator[Problem]:
    conf = view.conf
    if conf.has_scheduler and conf.alias and PCI_FILTER not in conf.filters:
        remedy = f"add {PCI_FILTER}"
        if conf.enabled_filters is None:
            # Alone it would turn the default ones off.
            names = ",".join((*DEFAULT_FILTERS, PCI_FILTER))
            remedy = (
                f"set [filter_scheduler] enabled_filters = {names}, or give"
                " the file of nova-scheduler that sets it"
            )
        yield _scheduler_place(conf), (remedy,)


def _scheduler_place(conf: NovaConf) -> str:
    """Return where filters are set, or anything of the scheduler."""
    own = [v for v in conf.values if v.section == configuration.SCHEDULER]
    return (
        conf.place(configuration.ENABLED)
        or conf.place(configuration.AVAILABLE)
        or own[0].place
    )


RULES = (
    Rule(OPTIONS, FAIL, _wrong_values, "{0}", "{1}"),
    Rule(OPTIONS, WARN, _unknown_options,
         "Nova does not know {1} in [{0}], and ignores it", "{2}"),
    Rule(OPTIONS, WARN, _later_option,
         "{0} does not know [filter_scheduler] pci_in_placement, and ignores"
         " it", "remove it, or upgrade Nova",
         Condition(lacks=Feature.SCHEDULE)),
    Rule(OPTIONS, WARN, _no_device_spec,
         "no device_spec is set: nova-compute with these files offers no"
         " function of this host",
         "give all files that nova-compute reads, or add device_spec"),
    Rule(OPTIONS, WARN, _post_copy,
         "live_migration_permit_post_copy is on: QEMU refuses to migrate"
         " instances that have live_migratable functions",
         "set [libvirt] live_migration_permit_post_copy = false, or remove"
         " live_migratable"),
    Rule(PLACEMENT, FAIL, _unreported,
         "pci_in_placement is on and report_in_placement is off: Placement"
         " knows no function of this host, so no instance with an alias is"
         " placed on it",
         f"on every compute host, {REPORTING}; or turn pci_in_placement off",
         Condition(pci_in_placement=True, report_in_placement=False)),
    Rule(PLACEMENT, WARN, _undecided,
         "no file sets anything in [filter_scheduler]: whether the scheduler"
         " has pci_in_placement on is unknown",
         "give the files of nova-scheduler and nova-api as well",
         Condition(may_be_placed=True)),
    Rule(FILTERS, FAIL, _not_importable,
         "{0} {1!r} cannot be imported: nova-scheduler does not start",
         "{2}"),
    Rule(FILTERS, FAIL, _unavailable,
         "enabled_filters contains {0}, which available_filters does not"
         " load: nova-scheduler does not start", "{1}"),
    Rule(FILTERS, WARN, _no_pci_filter,
         f"enabled_filters does not contain {PCI_FILTER}: instances with an"
         " alias are sent to hosts that have no free function for them",
         "{0}"),
)  # fmt: skip
