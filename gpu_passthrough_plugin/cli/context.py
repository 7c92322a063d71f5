"""What a command works with, by the global options and configuration."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import defaults, errors
from gpu_passthrough_plugin.cli import output, superuser
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.cli.time_limit import time_limit
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow.host_snapshot import read_selection
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.isolation.selection import HostSelection
from gpu_passthrough_plugin.model import selector

if TYPE_CHECKING:
    # A listing needs none of these: they import SQLAlchemy, tooz and
    # libvirt, and ``conf`` imports oslo.config.
    from gpu_passthrough_plugin import conf
    from gpu_passthrough_plugin.allocation.driver import LedgerDriver
    from gpu_passthrough_plugin.discovery.pci_names import Names
    from gpu_passthrough_plugin.flow.context import HostContext
    from gpu_passthrough_plugin.flow.enablement import BootContext
    from gpu_passthrough_plugin.flow.ledger_cache import LedgerCache
    from gpu_passthrough_plugin.flow.verification import BootEvidence
    from gpu_passthrough_plugin.host.boot.journal import JournalStore
    from gpu_passthrough_plugin.host.commands import Commands
    from gpu_passthrough_plugin.host.files import Files
    from gpu_passthrough_plugin.host.function_calls import FunctionCalls
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor
    from gpu_passthrough_plugin.host.locks import HostLock
    from gpu_passthrough_plugin.model.one_time_use import PciProviders
    from gpu_passthrough_plugin.model.request import Request


class Context:
    """What one command works with; each part is made at its first use.

    :param root: the folder that the host's files are read below.
    :param recording: a recorded host to read instead.
    :param config_files: empty for the default file.
    :param command: its words, for the events of the ledger.
    :param ledgers: of which the ledger is taken, where a process keeps it.
    """

    # Whether agents of other hosts do what they are asked for.
    has_agents = True

    def __init__(
        self,
        root: str,
        recording: str | None,
        config_files: Sequence[str],
        command: str = "",
        ledgers: LedgerCache | None = None,
    ) -> None:
        self._command = command
        self._ledgers = ledgers
        self._root = root
        self._recording = recording
        self._config_files = tuple(config_files)

    @functools.cached_property
    def settings(self) -> conf.Settings:
        from gpu_passthrough_plugin import conf

        return conf.load(self._config_files, output.hide)

    @functools.cached_property
    def state_path(self) -> str:
        """Return the folder for state, which nobody else can change.

        :raises Invalid: when somebody else can.
        """
        from gpu_passthrough_plugin.host import ownership

        folder = self.settings.state_path
        ownership.require_private(folder)
        return folder

    @property
    def is_configured(self) -> bool:
        return bool(self._config_files) or os.path.exists(defaults.CONFIG_FILE)

    @functools.cached_property
    def tree(self) -> Tree:
        if self._recording is None:
            if self.is_here:
                return HostTree("/", lambda n: self._function_calls.stuck(n))
            return HostTree(self._root)
        from gpu_passthrough_plugin.discovery import recorded_tree

        with time_limit(self._recording):
            tree = recorded_tree.load(self._recording)
        for warning in tree.warnings:
            say(warning)
        return tree

    @functools.cached_property
    def _function_calls(self) -> FunctionCalls:
        from gpu_passthrough_plugin.host import function_calls

        folder, timeout_s = defaults.STATE_PATH, function_calls.TIMEOUT_S
        if self.is_configured:
            folder = self.settings.state_path
            timeout_s = self.settings.release.kernel_timeout_s
        folder = os.path.join(folder, "calls")
        return function_calls.FunctionCalls(folder, timeout_s)

    @functools.cached_property
    def policy(self) -> Policy:
        return self.policy_of(self.tree)

    def policy_of(self, tree: Tree) -> Policy:
        """Return the policy for a host; raise as ``selection_of`` does."""
        select = self.selection_of(tree).selectors
        if not self.is_configured:
            exclude = tuple(map(selector.parse, defaults.EXCLUDE))
            return Policy(select, exclude)
        traits, options = (
            self.settings.allocation.traits,
            self.settings.discovery,
        )
        return Policy(
            select, options.exclude, traits, options.refuses_unisolated
        )

    def selection_of(self, tree: Tree) -> HostSelection:
        """Return what an operator selected on a host, read now.

        :raises Error: when its file is malformed, or cannot be read.
        """
        configured, is_set = tuple(map(selector.parse, defaults.SELECT)), False
        if self.is_configured:
            options = self.settings.discovery
            configured, is_set = options.select, options.is_select_set
        place = "" if self.is_here and tree is self.tree else f"{tree}: "
        return read_selection(tree, configured, place, is_configured=is_set)

    @functools.cached_property
    def names(self) -> Names:
        from gpu_passthrough_plugin.discovery.pci_names import SYSTEM, Names

        path = defaults.PCI_IDS
        if self.is_configured:
            path = self.settings.discovery.pci_ids
        return Names((path, *SYSTEM))

    @property
    def changed_ledger(self) -> LedgerDriver:
        """Return the ledger, for a command that changes it.

        :raises Invalid: for a recorded host, or one below another root: what
            is tried with these must change nothing.
        """
        if not self.can_act:
            self._require_here("this command changes the ledger")
        return self.ledger

    @functools.cached_property
    def ledger(self) -> LedgerDriver:
        if self._ledgers is None:
            return self._new_ledger()
        return self._ledgers.ledger(
            self._command, self.settings, self._new_ledger
        )

    def _new_ledger(self) -> LedgerDriver:
        from gpu_passthrough_plugin.allocation import load
        from gpu_passthrough_plugin.allocation.driver import LedgerSettings
        from gpu_passthrough_plugin.host import actor
        from gpu_passthrough_plugin.host.event_log import EventFile

        settings = self.settings
        if self.can_act:
            _ = self.state_path
        retention = settings.allocation.retention
        return load.load(
            settings.allocation.driver,
            LedgerSettings(
                settings.database.connection,
                options=settings.database.options,
                weight=settings.allocation.weight,
                placement=settings.placement.options,
                actor=actor.current(self._command, settings.host),
                retention=retention,
                event_log=EventFile(
                    os.path.join(settings.state_path, "events.jsonl"),
                    retention,
                ),
            ),
        )

    def pci_providers(self) -> PciProviders:
        """Return Placement's providers of devices, whatever the ledger is."""
        from gpu_passthrough_plugin.allocation import load
        from gpu_passthrough_plugin.allocation.driver import LedgerSettings

        settings = LedgerSettings(
            "", placement=self.settings.placement.options
        )
        return load.load("placement", settings).pci_providers()

    def request(
        self, text: str, numa_nodes: frozenset[int] | None = None
    ) -> Request:
        """Return the request that ``text``, such as ``gpu:1``, stands for.

        :raises Faults: when it is malformed or names an unknown alias.
        """
        from gpu_passthrough_plugin.model import request

        return request.parse(text, self.settings.pci.aliases, numa_nodes)

    @property
    def is_here(self) -> bool:
        """Whether the host that is read is the one that this runs on."""
        return self._recording is None and os.path.realpath(self._root) == "/"

    @property
    def can_act(self) -> bool:
        """Whether commands may act on the host that is read."""
        return self.is_here

    @property
    def place(self) -> str:
        """Return the path of the host that is read, as the operator has it."""
        return self._recording or self._root

    def confine(
        self,
        *,
        reads_only: bool,
        runs_tools: bool = False,
        is_foreign: bool = False,
    ) -> None:
        """Give up the capabilities that are not needed, for good.

        Before any text is read that a stranger made.

        :param runs_tools: whether the command runs the host's own tools, such
            as the one that builds an initramfs, which may need any.
        :param is_foreign: whether the command reads another host anyway.
        """
        superuser.confine(
            reads_only=reads_only,
            runs_tools=runs_tools,
            is_foreign=is_foreign or not self.is_here,
        )

    def require_host(
        self,
        reason: str = "this command changes a host, or the ledger's units of"
        " it",
    ) -> None:
        """Raise if the host that is read is not the one that this runs on.

        :param reason: why no other will do.
        :raises Invalid: for a recorded host, or one below another root: their
            kernel and libvirt are not those of this host.
        """
        self._require_here(reason)
        superuser.require_root()

    def _require_here(self, reason: str) -> None:
        if self.is_here:
            return
        option = f"--root {self._root}"
        if self._recording is not None:
            option = f"--recording {self._recording}"
        raise errors.Invalid(
            f"{option} is read-only, and {reason}; run this command on the"
            " live host without that option"
        )

    @functools.cached_property
    def host_context(self) -> HostContext:
        """Return what acts on this host's groups."""
        self.require_host()
        from gpu_passthrough_plugin.cli import host_services
        from gpu_passthrough_plugin.host import sanitise_driver
        from gpu_passthrough_plugin.host.devices import SysfsDevices

        lock, release = self._lock, self.settings.release
        return host_services.host_context(
            self,
            SysfsDevices(self._function_calls, require_lock=lock.require),
            lock,
            lock.require,
            sanitise_driver.load(
                release.sanitise_driver,
                release.sanitising,
                f"{self.state_path}/calls",
            ),
        )

    @functools.cached_property
    def boot_context(self) -> BootContext:
        """Return what changes this host's boot; for other hosts only plans."""
        from gpu_passthrough_plugin.flow.enablement import BootContext
        from gpu_passthrough_plugin.host.boot.apply import Applier
        from gpu_passthrough_plugin.host.boot.revert import Reverter

        changers = self._changers() if self.is_here else None
        return BootContext(
            tree=self.tree,
            policy=self.policy,
            settings=self.settings.enablement,
            applier=Applier(*changers) if changers else None,
            reverter=Reverter(*changers) if changers else None,
            lock=lambda: self._lock(),
            say=say,
            selection=lambda: self.selection_of(self.tree),
        )

    @functools.cached_property
    def boot_evidence(self) -> BootEvidence:
        """Return what explains this host's boot; nothing of another host's."""
        from gpu_passthrough_plugin.flow.verification import BootEvidence
        from gpu_passthrough_plugin.model.reading import MISSING

        if not self.is_here:
            return BootEvidence(MISSING, None, lambda _, __: MISSING)
        from gpu_passthrough_plugin.flow import verification
        from gpu_passthrough_plugin.formats.kernel_log import parsed
        from gpu_passthrough_plugin.host import kmsg

        _, commands, changes, _ = self._changers()
        history = changes.read()
        text = kmsg.text()
        return BootEvidence(
            parsed(text) if isinstance(text, str) else text,
            history.enablement if history else None,
            functools.partial(verification.list_image, commands),
        )

    def _changers(
        self,
    ) -> tuple[Files, Commands, JournalStore, Callable[[str], None]]:
        """Return what changes this host's files, and its journal."""
        from gpu_passthrough_plugin.host.boot.journal import JournalStore
        from gpu_passthrough_plugin.host.commands import Commands
        from gpu_passthrough_plugin.host.files import Files

        folder = self.state_path
        commands = Commands(
            os.path.join(folder, "enable.log"),
            os.path.join(folder, "locks", "commands"),
            say,
        )
        changes = JournalStore(
            os.path.join(folder, "enablement"),
            # Made at its first use: commands that only read need no tooz.
            lambda: self._lock.require(),
            timeout_s=self.settings.coordination.timeout_s,
            on_wait=say,
        )
        return Files(), commands, changes, say

    def connect(self) -> Hypervisor:
        """Return a connection to this host's libvirt."""
        return self._connected(self._lock.require)

    def connect_to_read(self) -> Hypervisor:
        """Return a connection that changes nothing, without a lock."""
        return self._connected(lambda: None)

    def _connected(self, require_lock: Callable[[], None]) -> Hypervisor:
        from gpu_passthrough_plugin.host.hypervisor import Hypervisor

        return Hypervisor(self.settings.libvirt.connection_uri, require_lock)

    def check_lock(self) -> None:
        """Raise if this host's lock cannot be taken; take and create nothing.

        :raises Unavailable: when its backend cannot be used.
        """
        self._lock.check()

    @functools.cached_property
    def _lock(self) -> HostLock:
        """Return this host's lock, which is checked before each act."""
        from gpu_passthrough_plugin.host.locks import HostLock

        settings = self.settings
        return HostLock(
            settings.coordination.backend_url,
            settings.host,
            folder=os.path.join(self.state_path, "locks"),
            timeout_s=settings.coordination.timeout_s,
            on_wait=say,
        )
