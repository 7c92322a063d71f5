"""The configuration: files, or none, become checked and frozen values.

Each module has related groups of options.  Nothing below the composing
layer sees oslo.config.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

from oslo_config import cfg

from gpu_passthrough_plugin import defaults, errors
from gpu_passthrough_plugin.conf import (
    allocation,
    coordination,
    database,
    default,
    discovery,
    enablement,
    guests,
    pci,
    placement,
    release,
)
from gpu_passthrough_plugin.conf.section import (
    Document,
    Section,
    read_document,
    repeated_lists,
    secrets,
    unknown_options,
)

DEFAULT_FILE = defaults.CONFIG_FILE
_OPTS: dict[str, tuple[cfg.Opt, ...]] = {
    default.GROUP: default.OPTS,
    discovery.GROUP: discovery.OPTS,
    enablement.GROUP: enablement.OPTS,
    pci.GROUP: pci.OPTS,
    allocation.GROUP: allocation.OPTS,
    database.GROUP: database.OPTS,
    placement.GROUP: placement.OPTS,
    coordination.GROUP: coordination.OPTS,
    guests.LIBVIRT_GROUP: guests.LIBVIRT_OPTS,
    guests.HOOK_GROUP: guests.HOOK_OPTS,
    release.GROUP: release.OPTS,
    guests.AGENT_GROUP: guests.AGENT_OPTS,
}
_SECRET_NAMES = frozenset(
    opt.dest for opts in _OPTS.values() for opt in opts if opt.secret
)
# These groups may have further options, Nova's, oslo.db's and keystoneauth's:
# the group's own module checks their names.
_SHARED_GROUPS = frozenset({pci.GROUP, database.GROUP, placement.GROUP})


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, checked.

    :param host: this host's name in the ledger.
    :param state_path: an absolute path; the folder may be missing.
    """

    host: str
    state_path: str
    discovery: discovery.Discovery
    enablement: enablement.Enablement
    pci: pci.Pci
    allocation: allocation.Allocation
    database: database.Database
    placement: placement.Placement
    coordination: coordination.Coordination
    libvirt: guests.Libvirt
    hook: guests.Hook
    release: release.Release
    agent: guests.Agent


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return the options by group, for the sample and the reference.

    Of oslo.db's options, only the one that this product documents.
    """
    return [(group, list(opts)) for group, opts in _OPTS.items()]


def load(
    config_files: Sequence[str] = (),
    hide: Callable[[frozenset[str]], None] | None = None,
) -> Settings:
    """Return the configuration; a later file overrides an earlier one.

    :param config_files: ``DEFAULT_FILE``, if it exists, when there is none.
    :param hide: is given the passwords in these files before anything else
        is done with them.
    :raises Faults: with every fault in any of the files.
    """
    files = config_files or [f for f in (DEFAULT_FILE,) if os.path.exists(f)]
    faults: list[str] = []
    documents = _documents(files, faults)
    if hide is not None:
        hide(secrets(documents, _SECRET_NAMES))
    conf = cfg.ConfigOpts()
    for group, opts in _OPTS.items():
        conf.register_opts(opts, group=None if group == "DEFAULT" else group)
    conf(
        args=[],
        default_config_files=[d.path for d in documents],
        default_config_dirs=[],
        use_env=False,
    )
    settings = _settings(conf, documents, faults)
    if faults:
        raise errors.Faults(tuple(faults))
    return settings


def _documents(files: Sequence[str], faults: list[str]) -> list[Document]:
    """Return the files that can be read; add a fault for each other one."""
    names = {g: {opt.dest for opt in opts} for g, opts in _OPTS.items()}
    documents = []
    for path in files:
        try:
            document = read_document(os.path.abspath(os.path.expanduser(path)))
        except errors.Invalid as error:
            faults.append(str(error))
            continue
        faults.extend(unknown_options(document, names, _SHARED_GROUPS))
        faults.extend(repeated_lists(document, _OPTS))
        documents.append(document)
    return documents


def _settings(
    conf: cfg.ConfigOpts, documents: Sequence[Document], faults: list[str]
) -> Settings:
    def section(group: str) -> Section:
        return Section(conf, group, documents, faults)

    host = section(default.GROUP)
    placements = placement.parse(section(placement.GROUP))
    agents = section(guests.AGENT_GROUP)
    agent = guests.parse_agent(agents)
    if agent.recycle and not placements.options:
        agents.fault(guests.RECYCLE, "expected false, or where Placement is")
    return Settings(
        host=default.host(host),
        state_path=default.state_path(host),
        discovery=discovery.parse(section(discovery.GROUP)),
        enablement=enablement.parse(section(enablement.GROUP)),
        pci=pci.parse(section(pci.GROUP)),
        allocation=allocation.parse(section(allocation.GROUP)),
        database=database.parse(section(database.GROUP)),
        placement=placements,
        coordination=coordination.parse(section(coordination.GROUP)),
        libvirt=guests.parse_libvirt(section(guests.LIBVIRT_GROUP)),
        hook=guests.parse_hook(section(guests.HOOK_GROUP)),
        release=release.parse(section(release.GROUP)),
        agent=agent,
    )
