"""What is wrong with Nova's configuration on this host."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.reading import printable
from gpu_passthrough_plugin.nova.address_space import HostHardware
from gpu_passthrough_plugin.nova.lint import (
    address_space_rules,
    alias_matching,
    alias_rules,
    device_spec_rules,
    group_rules,
    host_view,
    option_rules,
    virtual_function_rules,
)
from gpu_passthrough_plugin.nova.lint.configuration import NovaConf
from gpu_passthrough_plugin.nova.lint.host_view import HostView

RULES = (
    *option_rules.RULES,
    *device_spec_rules.RULES,
    *group_rules.RULES,
    *virtual_function_rules.RULES,
    *alias_rules.RULES,
    *alias_matching.RULES,
    *address_space_rules.RULES,
    *device_spec_rules.TRAIT_RULES,
)


class Check(NamedTuple):
    """A name that rules are reported under.

    :param passed: what is reported when none of them finds anything.
    :param options: it is of no use where none of these is set.
    :param reads: options whose every entry has to be read to pass it;
        ``options`` by default.
    """

    passed: str
    options: tuple[str, ...]
    reads: tuple[str, ...] | None = None


_SPEC, _ALIAS = ("device_spec",), ("alias",)
# In the order in which they are reported.
_CHECKS: Mapping[str, Check] = {
    option_rules.OPTIONS: Check(
        "Nova knows every option of [pci]", (*_SPEC, *_ALIAS), reads=()
    ),
    option_rules.PLACEMENT: Check(
        "report_in_placement and pci_in_placement fit together",
        (*_SPEC, *_ALIAS),
        reads=(),
    ),
    option_rules.FILTERS: Check(
        "nova-scheduler can load every filter", (*_SPEC, *_ALIAS), reads=()
    ),
    device_spec_rules.VALUES: Check("Nova can read every device_spec", _SPEC),
    device_spec_rules.MATCHES: Check(
        "every device_spec matches a function of this host", _SPEC
    ),
    device_spec_rules.GREEDY: Check(
        "no device_spec matches more devices than intended", _SPEC
    ),
    group_rules.GROUPS: Check(
        "no IOMMU group can be split between instances", _SPEC
    ),
    virtual_function_rules.SRIOV: Check(
        "nova-compute can report every physical function and its virtual ones",
        _SPEC,
    ),
    virtual_function_rules.POOLS: Check(
        "virtual functions of a physical one have the same tags", _SPEC
    ),
    group_rules.BRIDGES: Check("no bridge is listed", _SPEC),
    group_rules.HOST: Check("every listed function can be assigned", _SPEC),
    device_spec_rules.KEYS_CHECK: Check("this release knows every key", _SPEC),
    alias_rules.ALIASES: Check("Nova can read every alias", _ALIAS),
    alias_rules.ALIAS_NAMES: Check(
        "entries with the same name are compatible", _ALIAS
    ),
    alias_matching.ALIAS_MATCHES: Check(
        "every alias matches a function of this host",
        _ALIAS,
        reads=(*_SPEC, *_ALIAS),
    ),
    address_space_rules.ADDRESSES: Check(
        "guests can map the BARs of all functions that aliases match",
        _ALIAS,
        reads=(*_SPEC, *_ALIAS),
    ),
    device_spec_rules.TRAITS: Check(
        "Placement accepts every trait", (*_SPEC, *_ALIAS)
    ),
}


def findings(
    conf: NovaConf,
    groups: Sequence[Group],
    release: Release = NEWEST,
    hardware: HostHardware | None = None,
) -> tuple[Finding, ...]:
    """Return one finding for each fault, and one for each check that passes.

    :param groups: all of the host's, with the details of every member; the
        device type of a member without is not checked.
    :param hardware: what guests can map is not checked where it is None.
    :raises Invalid: when there are more entries than any host has
        devices.
    """
    view = host_view.apply(conf, groups, release, hardware)
    options = {"device_spec": conf.device_spec, "alias": conf.alias}
    if not any(options.values()):
        return (
            *_faults(option_rules.OPTIONS, view),
            Finding(
                device_spec_rules.VALUES,
                Status.WARN,
                "neither device_spec nor alias is set in [pci]",
                "give the files that nova-compute and nova-api read",
            ),
        )
    return tuple(
        finding
        for name, check in _CHECKS.items()
        if any(options[option] for option in check.options)
        and _is_of_use(name, view)
        for finding in _check(name, view)
    )


def _is_of_use(name: str, view: HostView) -> bool:
    """Return whether files and host say what a check needs to know."""
    if name == address_space_rules.ADDRESSES:
        return address_space_rules.is_of_use(view)
    if name == option_rules.FILTERS:
        return view.conf.has_scheduler
    if name == virtual_function_rules.POOLS:
        return view.is_placed or view.may_be_placed
    return True


def _check(name: str, view: HostView) -> Sequence[Finding]:
    check = _CHECKS[name]
    faults = [*_faults(name, view)]
    return (
        faults
        or [*_unread(name, check, view)]
        or [Finding(name, Status.PASS, check.passed)]
    )


def _unread(name: str, check: Check, view: HostView) -> Iterator[Finding]:
    """Yield that a check cannot pass while entries cannot be read."""
    faults = {"device_spec": view.spec_faults, "alias": view.alias_faults}
    for option in check.options if check.reads is None else check.reads:
        places = [*dict.fromkeys(fault.place for fault in faults[option])]
        if places:
            more = f" and {len(places) - 1} more" if places[1:] else ""
            yield _printable(
                Finding(
                    name,
                    Status.WARN,
                    f"unknown: not every {option} can be read",
                    f"fix the {option} first",
                    f"{places[0]}{more}",
                )
            )


def _faults(name: str, view: HostView) -> Iterator[Finding]:
    for rule in RULES:
        if rule.check == name:
            yield from map(_printable, rule.findings(view))


def _printable(finding: Finding) -> Finding:
    """Return the finding with unprintable characters escaped."""
    detail, where = printable(finding.detail), printable(finding.where)
    return dataclasses.replace(finding, detail=detail, where=where)
