"""What is wrong with Nova's configuration on this host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.nova.lint import (
    alias_rules,
    device_spec_rules,
    group_rules,
)
from gpu_passthrough_plugin.nova.lint.configuration import Options
from gpu_passthrough_plugin.nova.lint.whitelist import Case, case

Rule = Callable[[Case], Iterator[Finding]]


class Check(NamedTuple):
    """Rules that are reported under one name.

    :param fine: what is said when none of them finds anything.
    """

    name: str
    rules: tuple[Rule, ...]
    fine: str


_SPECS = (
    Check(
        device_spec_rules.VALUES,
        (device_spec_rules.values,),
        "Nova reads every device_spec",
    ),
    Check(
        device_spec_rules.MATCHES,
        (device_spec_rules.matches,),
        "every device_spec matches a function of this host",
    ),
    Check(
        device_spec_rules.GREEDY,
        (device_spec_rules.greedy,),
        "no device_spec matches more than it seems to mean",
    ),
    Check(
        group_rules.GROUPS,
        (group_rules.split, group_rules.tags),
        "no two instances can get parts of one group",
    ),
    Check(
        group_rules.SRIOV,
        (group_rules.sriov,),
        "no physical function is listed beside its virtual ones",
    ),
    Check(group_rules.BRIDGES, (group_rules.bridges,), "no bridge is listed"),
    Check(
        group_rules.HOST,
        (group_rules.assignable,),
        "whatever is listed can be handed out",
    ),
    Check(
        device_spec_rules.KEYS,
        (device_spec_rules.keys,),
        "the release knows every key",
    ),
)
_ALIASES = (
    Check(
        alias_rules.ALIASES,
        (alias_rules.values, alias_rules.kinds),
        "Nova reads every alias",
    ),
    Check(
        alias_rules.ALIAS_NAMES,
        (alias_rules.names,),
        "entries of one name go together",
    ),
    Check(
        alias_rules.ALIAS_MATCHES,
        (alias_rules.matches,),
        "some function of this host satisfies every alias",
    ),
)
_BOTH = (
    Check(
        device_spec_rules.TRAITS,
        (device_spec_rules.spaces,),
        "Placement takes every trait",
    ),
)


def findings(
    options: Options, groups: Sequence[Group], release: Release = NEWEST
) -> tuple[Finding, ...]:
    """A finding a fault, and one a check where nothing is wrong.

    :param groups: all of the host's, with the details of every member:
        without one nothing is said of its device type.
    :raises Invalid: when there are more entries than any host has
        devices.
    """
    looked_at = case(options, groups, release)
    checks = [
        *(_SPECS if options.device_spec else ()),
        *(_ALIASES if options.alias else ()),
        *(_BOTH if options.device_spec or options.alias else ()),
    ]
    if not checks:
        return (
            Finding(
                device_spec_rules.VALUES,
                Status.WARN,
                "neither device_spec nor alias stands in [pci]",
                "name the files that nova-compute and nova-api read",
            ),
        )
    return tuple(f for check in checks for f in _found(check, looked_at))


def _found(check: Check, looked_at: Case) -> tuple[Finding, ...]:
    found = tuple(
        _printable(f) for rule in check.rules for f in rule(looked_at)
    )
    return found or (Finding(check.name, Status.PASS, check.fine),)


def _printable(finding: Finding) -> Finding:
    """It in one line, whatever the names in the files have in them."""
    detail, where = _shown(finding.detail), _shown(finding.where)
    return dataclasses.replace(finding, detail=detail, where=where)


def _shown(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else repr(letter)[1:-1]
        for letter in text
    )
