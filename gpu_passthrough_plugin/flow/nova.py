"""Generate Nova's configuration for hosts, and check one that exists."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.config_files import ConfigFile
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.formats import nova_release
from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model.finding import Finding
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord
from gpu_passthrough_plugin.nova import compute, render
from gpu_passthrough_plugin.nova.address_space import HostHardware
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.control_plane import (
    DEFAULT_FILTERS,
    GROUP_FILTER,
)
from gpu_passthrough_plugin.nova.lint import check, option_rules
from gpu_passthrough_plugin.nova.lint.configuration import NovaConf
from gpu_passthrough_plugin.nova.options import NovaOptions

# Every service of Nova reads it in addition to its own file, by default.
# Source: oslo.config, cfg.py (find_config_dirs).
_FOLDER = "/etc/nova/nova.conf.d/"
# Where Nova's packages are: of Debian and Ubuntu; of Fedora, RDO and SUSE; of
# pip; and the virtual environments of DevStack, kolla and OpenStack-Ansible.
_PACKAGES = (
    "usr/lib/python3/dist-packages",
    "usr/lib/python3.*/site-packages",
    "usr/local/lib/python3.*/dist-packages",
    "usr/local/lib/python3.*/site-packages",
    "opt/stack/data/venv/lib/python3.*/site-packages",
    "var/lib/kolla/venv/lib/python3.*/site-packages",
    "openstack/venvs/nova-*/lib/python3.*/site-packages",
)
# Source: Python Packaging User Guide, "Recording installed projects"; the
# older one is setuptools'.
_DISTRIBUTION = re.compile(
    r"nova-([0-9][^-]*)(?:-py3[^-]*)?\.(?:dist|egg)-info"
)
_FILE_NAME = re.compile(r"[^\s/\0]{1,200}")


class InstalledNova(NamedTuple):
    """A Nova that is installed on a host, and where."""

    version: str
    path: str


def assumed_release(
    tree: Tree, say: Callable[[str], None], folders: Iterable[str] = ()
) -> Release:
    """Return the release of the Nova that is installed, or the newest.

    :param folders: further ones with Python packages, such as those of the
        environment that this runs in.
    :param say: called with which one it is, and why.
    :raises Invalid: when that one is not supported, or there are several.
    """
    releases: dict[Release, InstalledNova] = {}
    for installation in installations(tree, folders):
        try:
            release = nova_release.parse(installation.version)
        except errors.Invalid as error:
            raise errors.Invalid(
                f"{installation.path}: {error}; name the release with"
                " --release"
            ) from error
        releases.setdefault(release, installation)
    if len(releases) > 1:
        texts = ", ".join(f"{r} ({i.path})" for r, i in releases.items())
        raise errors.Invalid(
            f"several releases of Nova are installed: {texts}; name one with"
            " --release"
        )
    for release, installation in releases.items():
        say(f"release: {release}, as installed: {installation.path}")
        return release
    say(
        f"release: {NEWEST}, the newest known, because no Nova is installed"
        " here; name yours with --release"
    )
    return NEWEST


def installations(
    tree: Tree, folders: Iterable[str] = ()
) -> Iterator[InstalledNova]:
    """Yield each Nova in the places where its packages are installed."""
    own = [folder.strip("/") for folder in folders]
    for folder in (*own, *_expanded(tree, _PACKAGES)):
        names = tree.names(folder)
        for name in () if isinstance(names, Unknown) else names:
            match = _DISTRIBUTION.fullmatch(name)
            if match:
                yield InstalledNova(match[1], f"/{folder}/{name}")


def _expanded(tree: Tree, patterns: Iterable[str]) -> Iterator[str]:
    """Yield the folders that match; any name may have a ``*``."""
    for pattern in patterns:
        folders = [""]
        for part in pattern.split("/"):
            folders = [
                f"{folder}/{name}".removeprefix("/")
                for folder in folders
                for name in _matching(tree, folder, part)
            ]
        yield from folders


def _matching(tree: Tree, folder: str, part: str) -> Iterator[str]:
    if "*" not in part:
        yield part
        return
    names = tree.names(folder)
    for name in () if isinstance(names, Unknown) else names:
        if fnmatch.fnmatchcase(name, part):
            yield name


def this_host(tree: Tree, policy: Policy, name: str) -> ComputeHost:
    """Return the host as it is read now.

    :param name: as Nova calls it.
    """
    snapshot = host_snapshot.read(tree, policy, Scope.PRIMARIES)
    groups = snapshot.groups()
    return ComputeHost(
        name,
        snapshot.units(name),
        tuple(g for g in groups if not g.verdict.is_assignable),
        hardware(snapshot.facts, groups),
    )


def hardware(facts: HostFacts, groups: Iterable[Group]) -> HostHardware:
    """Return what decides what guests of a host can map."""
    bars = {
        member.address: member.detail.bars
        for group in groups
        for member in group.members
        if member.detail is not None
    }
    return HostHardware(bars, facts.cpu_vendor, facts.address_bits)


def ledger_hosts(
    records: Iterable[UnitRecord], say: Callable[[str], None]
) -> tuple[ComputeHost, ...]:
    """Return every host of the ledger, by name.

    :param say: called with a message for each unit that is left out
        because it cannot be allocated.
    :raises Refused: when there is none.
    :raises Invalid: when a name cannot be part of a file's name.
    """
    hosts: dict[str, list[Unit]] = {}
    for record in records:
        units = hosts.setdefault(record.unit.key.host, [])
        if record.is_missing or record.state is State.QUARANTINED:
            what = "missing" if record.is_missing else record.state
            say(f"skipped {record.unit.key}: {what}")
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
                f"host {name!r} of the ledger cannot be part of a file name;"
                " publish the host under another name"
            )
    return tuple(ComputeHost(n, tuple(hosts[n])) for n in sorted(hosts))


def notes(
    options: NovaOptions, enabled: Sequence[str] | None
) -> Iterator[str]:
    """Yield what an operator chose that will not be as it was meant.

    :param enabled: the scheduler's filters, as of ``generate``.
    """
    for text in render.omissions(options):
        yield f"omitted: {text}"
    own = option_rules.novas_filters(options.release) | {GROUP_FILTER}
    others = [name for name in enabled or () if name not in own]
    if others:
        yield (
            f"warning: --enabled-filters: {', '.join(others)} is not a filter"
            f" of {options.release}; nova-scheduler starts only with filters"
            " that [filter_scheduler] available_filters loads"
        )


def generate(
    hosts: Sequence[ComputeHost],
    options: NovaOptions,
    enabled: Sequence[str] | None = None,
    *,
    by_name: bool = False,
) -> tuple[ConfigFile, ...]:
    """Return every file that Nova, Placement and an operator need.

    :param enabled: the scheduler's filters that an operator has enabled;
        None for Nova's default.
    :param by_name: whether each compute host's file is named after it.
    :raises Refused: when no host has anything for Nova.
    """
    if not any(compute.offers(host, options) for host in hosts):
        raise errors.Refused(_nothing_to_offer(hosts, options))
    filters = DEFAULT_FILTERS if enabled is None else enabled
    return (
        *(
            ConfigFile(
                f"gpu-compute{f'-{host.name}' if by_name else ''}.conf",
                f"{_FOLDER} of nova-compute on {host.name}",
                render.compute_file(host, options),
            )
            for host in hosts
        ),
        *_provider_files(hosts, options),
        ConfigFile(
            "gpu-alias.conf",
            f"{_FOLDER} of nova-api and every nova-compute",
            render.alias_file(hosts, options),
        ),
        ConfigFile(
            "gpu-scheduler.conf",
            f"{_FOLDER} of nova-scheduler, nova-api and nova-conductor",
            render.scheduler_file(options, filters),
        ),
        ConfigFile(
            "gpu-placement.conf",
            "the end of /etc/placement/placement.conf",
            render.placement_file(hosts, options),
        ),
        ConfigFile(
            "gpu-flavors.sh",
            "a shell with an administrator's credentials",
            render.flavors_file(hosts, options),
            mode=0o755,
        ),
    )


def _provider_files(
    hosts: Sequence[ComputeHost], options: NovaOptions
) -> Iterator[ConfigFile]:
    """Yield the file that reports the hosts' trait, if there is a trait."""
    if options.host_trait is None:
        return
    names = [host.name for host in hosts if compute.offers(host, options)]
    yield ConfigFile(
        "gpu-provider.yaml",
        f"/etc/nova/provider_config/ of nova-compute on {', '.join(names)}",
        render.provider_file(options.host_trait),
    )


def _nothing_to_offer(
    hosts: Sequence[ComputeHost], options: NovaOptions
) -> str:
    """Return why no host has anything for Nova, and what to do."""
    whose = hosts[0].name if len(hosts) == 1 else f"any of {len(hosts)} hosts"
    why = [reason for host in hosts for reason in _reasons(host, options)]
    if not why:
        return (
            f"no function of {whose} is selected; see 'gpu-passthrough device"
            " list', then run 'gpu-passthrough host enable --select ADDRESS'"
        )
    rest = "" if len(why) == 1 else f" (and {len(why) - 1} more)"
    return (
        f"no group of {whose} can be listed for Nova: {why[0]}; see"
        f" 'gpu-passthrough group list'{rest}"
    )


def _reasons(host: ComputeHost, options: NovaOptions) -> Iterator[str]:
    """Yield why each group is left out, with a remedy; consoles last."""
    for left in compute.left_out(host, options):
        yield f"{left.unit.key.address}: {left.reason}"
    for group in sorted(host.refused, key=_is_console):
        # None is primary where each selected function's header is a bridge's.
        first = (group.primaries or group.members)[0]
        address, reason = first.address, group.verdict.reasons[0]
        prefix = "" if str(address) in reason.text else f"{address}: "
        yield f"{prefix}{reason.text}; {reason.remedy}"


def _is_console(group: Group) -> bool:
    return any(r.rule == "bmc-display" for r in group.verdict.reasons)


def check_files(
    tree: Tree,
    policy: Policy,
    conf: NovaConf,
    release: Release,
) -> tuple[Finding, ...]:
    """Return what is wrong on this host with Nova's configuration files.

    :raises Invalid: when there are more entries than any host has devices.
    """
    # Nova may list any function.
    snapshot = host_snapshot.read(tree, policy, Scope.ALL)
    groups = snapshot.groups()
    return check.findings(
        conf, groups, release, hardware(snapshot.facts, groups)
    )
