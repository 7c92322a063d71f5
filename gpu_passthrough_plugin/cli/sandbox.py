"""``--sandbox``: recorded hosts to act on, in a folder.

Everything is this program's own, but for what only a machine has: drivers
change hands in a file, libvirt is its test driver, nothing is ever wiped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.main import version
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.cli.time_limit import time_limit
from gpu_passthrough_plugin.flow import sandbox
from gpu_passthrough_plugin.host.sandbox_folder import (
    Recording,
    SandboxFolder,
    write,
)

if TYPE_CHECKING:
    from gpu_passthrough_plugin import conf
    from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
    from gpu_passthrough_plugin.flow.context import HostContext
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor
    from gpu_passthrough_plugin.host.sandbox_machine import (
        SandboxDevices,
        SandboxMachine,
    )
    from gpu_passthrough_plugin.model.unit import Unit

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
_MAX_NAME = 64

_CONFIG = """\
# The configuration of this sandbox's hosts; every option of
# /etc/gpu-passthrough/gpu-passthrough.conf is one here, too. Where the ledger,
# locks and state are, and which libvirt is used, is the sandbox's own affair.

[discovery]
#select = class=03*, class=12*

[pci]
# Further request names, beside those in aliases.conf.
#alias = {"name": "big", "vendor_id": "10de", "product_id": "1430"}
"""
_GUEST = """\
<domain type='kvm'>
  <name>guest-1</name>
  <memory unit='GiB'>4</memory>
  <vcpu>4</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices/>
</domain>
"""


class SandboxContext(Context):
    """A recorded host of a sandbox, to act on.

    :param folder: of the sandbox, which is made at the first use.
    :param host: its name in the sandbox; None for the first.
    :param recordings: paths of recordings to add.
    :param tell: called with what is done to the sandbox itself.
    """

    has_agents = False

    def __init__(
        self,
        folder: str,
        host: str | None,
        recordings: Sequence[str],
        config_files: Sequence[str],
        command: str = "",
        tell: Callable[[str], None] = say,
    ) -> None:
        super().__init__("/", None, config_files, command)
        self._tell = tell
        self._path = folder
        self._wanted_host = host
        self._recordings = tuple(recordings)

    @property
    def is_here(self) -> bool:
        return False

    @property
    def can_act(self) -> bool:
        return True

    @property
    def place(self) -> str:
        return self.host

    @property
    def is_configured(self) -> bool:
        return True

    @functools.cached_property
    def folder(self) -> SandboxFolder:
        """Return the sandbox, which is made, or gets hosts, if need be."""
        folder = SandboxFolder(self._path, version(), say)
        if self._recordings or not folder.hosts():
            _fill(folder, self._recordings, self._tell)
        return folder

    @functools.cached_property
    def host(self) -> str:
        """Return the name of the host that is read and acted on.

        :raises Invalid: when the sandbox has no host of that name.
        """
        hosts = self.folder.hosts()
        if self._wanted_host is None:
            return hosts[0]
        if self._wanted_host not in hosts:
            raise errors.not_valid(
                "--sandbox-host",
                self._wanted_host,
                f"one of: {', '.join(hosts)}",
            )
        return self._wanted_host

    @functools.cached_property
    def settings(self) -> conf.Settings:
        """Return the operator's options, but for what leads elsewhere."""
        from gpu_passthrough_plugin import conf
        from gpu_passthrough_plugin.cli import output

        folder, host = self.folder, self.host
        files = (folder.aliases, folder.config, *self._config_files)
        settings = conf.load(files, output.hide)
        state = folder.state(host)
        return dataclasses.replace(
            settings,
            host=host,
            state_path=state,
            allocation=dataclasses.replace(settings.allocation, driver="sql"),
            database=dataclasses.replace(
                settings.database,
                connection=f"sqlite:///{folder.ledger}",
                options={},
            ),
            placement=dataclasses.replace(settings.placement, options={}),
            agent=dataclasses.replace(settings.agent, recycle=False),
            coordination=dataclasses.replace(
                settings.coordination, backend_url=f"file://{state}/locks"
            ),
            libvirt=dataclasses.replace(
                settings.libvirt, connection_uri="test:///"
            ),
        )

    @functools.cached_property
    def state_path(self) -> str:
        return self.settings.state_path

    @functools.cached_property
    def _recorded(self) -> tuple[RecordedTree, SandboxMachine]:
        """Return the host's tree, which shows what was done to the host."""
        # That it is read in time was seen when it was added.
        tree, machine = sandbox.machine(
            self.folder.recording(self.host),
            self.host,
            self.folder.machine(self.host),
        )
        for warning in tree.warnings:
            say(warning)
        return tree, machine

    @property
    def tree(self) -> RecordedTree:
        return self._recorded[0]

    @property
    def _machine(self) -> SandboxMachine:
        return self._recorded[1]

    def pci_providers(self) -> NoReturn:
        self._require_here("this command changes what Placement has")

    def _require_here(self, reason: str) -> NoReturn:
        raise errors.Invalid(
            f"--sandbox has recorded hosts, and {reason}; run this command on"
            " the live host without that option"
        )

    @functools.cached_property
    def host_context(self) -> HostContext:
        from gpu_passthrough_plugin.cli import host_services

        # Nothing is wiped: what a driver for that acts on is not here.
        return host_services.host_context(
            self, self._devices(), self._locked, self._lock.require, None
        )

    def _devices(self) -> SandboxDevices:
        return sandbox.devices(self.tree, self._machine, self._lock.require)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock():
            self._machine.refresh()
            yield

    def _connected(self, require_lock: Callable[[], None]) -> Hypervisor:
        from gpu_passthrough_plugin.host.sandbox_hypervisor import (
            SandboxHypervisor,
        )

        return SandboxHypervisor(self._machine, self._devices(), require_lock)


def _fill(
    folder: SandboxFolder, paths: Sequence[str], tell: Callable[[str], None]
) -> None:
    """Make a sandbox, or add hosts to one; say what was done."""
    recordings = [_read(path) for path in paths]
    _require_distinct(recordings)
    with folder.changing():
        before = folder.hosts()
        if not (recordings or before):
            recordings = [_read(sandbox.PACKAGED, sandbox.PACKAGED_HOST)]
        added = folder.add(recordings)
        if not added:
            return
        hosts = (*before, *added)
        units = [unit for host in hosts for unit in _units(folder, host)]
        write(folder.aliases, sandbox.aliases(units).encode())
        folder.keep(folder.config, _CONFIG)
        folder.keep(folder.guest, _GUEST)
        sandbox.make_ledger(folder.ledger)
        folder.mark(hosts)
    done = "added to sandbox" if before else "made sandbox"
    noun = "recorded host" if len(added) == 1 else "recorded hosts"
    tell(
        f"{done} {folder.path}: {noun} {', '.join(added)}; nothing outside of"
        " it is changed"
    )


def _read(path: str, host: str = "") -> Recording:
    """Return the recording in a file, whose name names the host.

    :raises Error: when it is not one.
    """
    with time_limit(path):
        content = sandbox.checked_recording(path)
    stem = os.path.splitext(os.path.basename(path))[0]
    name = host or _NOT_IN_NAMES.sub("-", stem).strip("-.")[:_MAX_NAME]
    return Recording(name or "host", path, content)


def _require_distinct(recordings: Sequence[Recording]) -> None:
    paths: dict[str, Recording] = {}
    for recording in recordings:
        other = paths.setdefault(recording.host, recording)
        if other.content != recording.content:
            raise errors.Invalid(
                f"--recording {other.path} and --recording {recording.path}"
                f" are both of a host {recording.host}; copy one to a file of"
                " another name"
            )


def _units(folder: SandboxFolder, host: str) -> tuple[Unit, ...]:
    path = folder.recording(host)
    with time_limit(path):
        return sandbox.units(path, host)
