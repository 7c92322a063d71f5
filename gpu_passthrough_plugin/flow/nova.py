"""``nova config`` and ``nova check``: hosts, and Nova's files for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import groups
from gpu_passthrough_plugin.flow.config_files import Part
from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.isolation import partition, verdict
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.isolation.units import unit
from gpu_passthrough_plugin.model.finding import Finding
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord
from gpu_passthrough_plugin.nova import compute, render
from gpu_passthrough_plugin.nova.control_plane import DEFAULT_FILTERS
from gpu_passthrough_plugin.nova.lint import check
from gpu_passthrough_plugin.nova.lint.configuration import Options
from gpu_passthrough_plugin.nova.options import Asked, Host, has_acs_override

# Read by every service of Nova's besides its own file, unless it is told
# otherwise.  Source: oslo.config, cfg.py (find_config_dirs).
_FOLDER = "/etc/nova/nova.conf.d/"
_FILE_NAME = re.compile(r"[^\s/\0]{1,200}")


def here(tree: Tree, policy: Policy, name: str) -> Host:
    """The host as it is read now.

    :param name: as Nova calls it.
    """
    facts = host_facts.facts(tree)
    found = groups.groups(tree, policy, with_primary_only=True)
    return Host(
        name,
        tuple(
            unit(name, group, facts, policy.traits)
            for group in found
            if group.verdict.is_assignable
        ),
        tuple(group for group in found if not group.verdict.is_assignable),
        has_acs_override(known(facts.kernel_arguments) or ()),
    )


def published(
    records: Iterable[UnitRecord], say: Callable[[str], None]
) -> tuple[Host, ...]:
    """Every host of the ledger, by name.

    :param say: told of each unit that nobody can be given.
    :raises Refused: when there is none.
    :raises Invalid: when a name can be no file's.
    """
    hosts: dict[str, list[Unit]] = {}
    for record in records:
        units = hosts.setdefault(record.unit.key.host, [])
        if record.is_missing or record.state is State.QUARANTINED:
            what = "missing" if record.is_missing else record.state
            say(f"left out: {record.unit.key}, which is {what}")
        else:
            units.append(record.unit)
    if not hosts:
        raise errors.Refused(
            "the ledger has no units; run 'gpu-passthrough inventory sync' on"
            " every compute host"
        )
    for name in hosts:
        if not _FILE_NAME.fullmatch(name):
            raise errors.Invalid(
                f"host {name!r} of the ledger cannot be part of a file's"
                " name; publish it under another"
            )
    return tuple(Host(name, tuple(hosts[name])) for name in sorted(hosts))


def parts(
    hosts: Sequence[Host],
    asked: Asked,
    enabled: Sequence[str] | None = None,
    *,
    by_name: bool = False,
) -> tuple[Part, ...]:
    """Every file that Nova, Placement and an operator need.

    :param enabled: the scheduler's filters that an operator has; None for
        Nova's own.
    :param by_name: name the compute hosts' files by them.
    :raises Refused: when no host has anything for Nova.
    """
    if not any(compute.offers(host, asked) for host in hosts):
        raise errors.Refused(_nothing(hosts, asked))
    filters = DEFAULT_FILTERS if enabled is None else enabled
    return (
        *(
            Part(
                f"gpu-compute{f'-{host.name}' if by_name else ''}.conf",
                f"{_FOLDER} of nova-compute on {host.name}",
                render.compute_file(host, asked),
            )
            for host in hosts
        ),
        *_providers(hosts, asked),
        Part(
            "gpu-alias.conf",
            f"{_FOLDER} of nova-api and every nova-compute",
            render.alias_file(hosts, asked),
        ),
        Part(
            "gpu-scheduler.conf",
            f"{_FOLDER} of nova-scheduler, nova-api and nova-conductor",
            render.scheduler_file(asked, filters),
        ),
        Part(
            "gpu-placement.conf",
            "the end of /etc/placement/placement.conf",
            render.placement_file(hosts, asked),
        ),
        Part(
            "gpu-flavors.sh",
            "a shell with an administrator's credentials",
            render.flavors_file(hosts, asked),
            mode=0o755,
        ),
    )


def _providers(hosts: Sequence[Host], asked: Asked) -> Iterator[Part]:
    """What Placement is told of hosts, where that is wanted."""
    if asked.host_trait is None:
        return
    names = [host.name for host in hosts if compute.offers(host, asked)]
    yield Part(
        "gpu-provider.yaml",
        f"/etc/nova/provider_config/ of nova-compute on {', '.join(names)}",
        render.provider_file(asked.host_trait),
    )


def _nothing(hosts: Sequence[Host], asked: Asked) -> str:
    """Why no host has anything for Nova, and what to do, in one line."""
    whose = hosts[0].name if len(hosts) == 1 else f"any of {len(hosts)} hosts"
    why = [reason for host in hosts for reason in _reasons(host, asked)]
    if not why:
        return (
            f"no group of {whose} has a function that [discovery] select"
            " names; see 'gpu-passthrough device list', and set it"
        )
    rest = "" if len(why) == 1 else f", for {len(why) - 1} more as well"
    return (
        f"no group of {whose} can be handed to Nova: {why[0]}; see"
        f" 'gpu-passthrough group list'{rest}"
    )


def _reasons(host: Host, asked: Asked) -> Iterator[str]:
    """Of each group why not, with a remedy; last what was to be expected."""
    for left in compute.left_out(host, asked):
        yield f"{left.unit.key.address}: {left.why}"
    for group in sorted(host.refused, key=_is_console):
        first, reason = group.primaries[0], group.verdict.reasons[0]
        names = str(first.address)
        of = "" if names in reason.text else f"{names}: "
        yield f"{of}{reason.text}; {reason.remedy}"


def _is_console(group: Group) -> bool:
    return any(r.rule == "bmc-display" for r in group.verdict.reasons)


def checked(
    tree: Tree,
    policy: Policy,
    options: Options,
    release: Release,
) -> tuple[Finding, ...]:
    """What is wrong on this host with what Nova's files say.

    :raises Invalid: when there are more entries than any host has devices.
    """
    return check.findings(options, _whole(tree, policy), release)


def _whole(tree: Tree, policy: Policy) -> tuple[Group, ...]:
    """All groups, every member read whole: Nova may list any function."""
    facts = host_facts.facts(tree)
    functions = discovery.functions(tree)
    details = {f.address: discovery.detail(tree, f) for f in functions}
    return tuple(
        verdict.group(partition.detailed(part, details), facts, policy)
        for part in partition.parts(functions, policy)
    )
