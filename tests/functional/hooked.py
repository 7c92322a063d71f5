"""A recorded host on disk, with a ledger, and libvirt's hook in place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import gpu_passthrough_plugin
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.cli import libvirt_hook
from gpu_passthrough_plugin.compute.hook import script
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.flow import hook_install, host_snapshot
from gpu_passthrough_plugin.host import hook, hook_client
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.hook import AGENT_SOCKET
from gpu_passthrough_plugin.model.unit import State
from tests.trees.host import Host
from tests.trees.seed import seed

HOST = "hyhive"
ME = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
OTHER = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"
GPU, AUDIO = "0000:06:00.0", "0000:06:00.1"
SECOND = ("0000:82:00.0", "0000:82:00.1")
COMMAND = (
    *("-I", "-c"),
    "import sys; from gpu_passthrough_plugin.cli.main import main;"
    " sys.exit(main())",
)
# The part of the agent that answers, until its standard input ends.
ANSWERS = """
import sys
from gpu_passthrough_plugin.cli import agent_hook, libvirt_hook
from gpu_passthrough_plugin.host import hook_server
path, *options = sys.argv[1:]
agent_hook.import_all(libvirt_hook.context_of(options, "prepare"))
with hook_server.serving(
    path,
    lambda: agent_hook.HookAnswerer(options),
    libvirt_hook.run_detached,
    lambda: None,
):
    print("ready", flush=True)
    sys.stdin.read()
"""
Ended = subprocess.CompletedProcess[str]


def xml(
    *functions: str, uuid: str = ME, managed: str = "yes", rest: str = ""
) -> str:
    """A domain as libvirt writes it, with these functions of the host."""
    devices = "".join(hostdev(place, managed) for place in functions)
    return (
        f"<domain type='kvm' id='3'>\n  <name>guest</name>\n"
        f"  <uuid>{uuid}</uuid>\n{rest}  <devices>\n{devices}"
        "  </devices>\n</domain>\n"
    )


def hostdev(place: str, managed: str = "yes") -> str:
    """A function as libvirt writes it into a domain."""
    domain, bus, rest = place.split(":")
    slot, function = rest.split(".")
    return (
        f"    <hostdev mode='subsystem' type='pci' managed='{managed}'>\n"
        "      <driver name='vfio'/>\n      <source>\n"
        f"        <address domain='0x{domain}' bus='0x{bus}' slot='0x{slot}'"
        f" function='0x{function}'/>\n      </source>\n    </hostdev>\n"
    )


@contextmanager
def installation() -> Iterator[Path]:
    """The product in a folder of root's, which is gone afterwards.

    Its interpreter; what else it needs is taken from this Python's own.
    """
    if os.geteuid():
        pytest.skip("libvirt runs what root installed")
    folder = Path(tempfile.mkdtemp(prefix="gpu-passthrough-", dir="/opt"))
    try:
        venv.create(folder)
        folder.chmod(0o755)
        (library,) = folder.glob("lib/python*/site-packages")
        package = Path(gpu_passthrough_plugin.__file__).parent
        shutil.copytree(package, library / package.name)
        (library / "others.pth").write_text(sysconfig.get_path("purelib"))
        yield folder / "bin/python3"
    finally:
        shutil.rmtree(folder)


_GIVEN_BACK = (State.ACTIVE, State.RELEASING, State.SANITISING, State.FREE)


class Agent:
    """An agent that answers the hook.

    :ivar errors: what it printed, when it has ended.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self.errors = ""

    def processes(self) -> list[int]:
        """The process that accepts, and its workers."""
        accepting = _children(self.pid)
        return accepting + [w for pid in accepting for w in _children(pid)]

    def cpu_s(self) -> dict[int, float]:
        """CPU seconds that each of these processes has taken."""
        spent = {}
        for pid in self.processes():
            with suppress(OSError):
                text = Path(f"/proc/{pid}/stat").read_text()
                ticks = map(int, text.rpartition(")")[2].split()[11:13])
                spent[pid] = sum(ticks) / os.sysconf("SC_CLK_TCK")
        return spent


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    with suppress(OSError):
        return [int(word) for word in path.read_text().split()]
    return []


class HookedHost:
    """The host of the seed below a folder, unless it is another.

    :param url: of the ledger; a file's by default.
    :param python: the interpreter that the product is installed for.
    """

    def __init__(
        self,
        root: Path,
        described: Host | None = None,
        url: str = "",
        python: Path = Path(sys.executable),
    ) -> None:
        self.python = python
        self.root = root
        self.state = root / "state"
        self.config = root / "gpu-passthrough.conf"
        self.program = Path(f"{root}{script.PATH}")
        (described or seed()).write(root)
        (root / "etc/libvirt").mkdir(parents=True)
        self.state.mkdir()
        self.url = url or f"sqlite:///{self.state}/ledger.sqlite"
        self.configure(f"[database]\nconnection = {url}\n" if url else "")
        ledger = self.ledger()
        ledger.sync()
        policy = Policy((selector.parse("class=03*"),))
        ledger.publish(
            HOST, host_snapshot.read(HostTree(str(root)), policy).units(HOST)
        )
        ledger.close()

    @property
    def options(self) -> tuple[str, ...]:
        """What the hook is installed with."""
        config, root = str(self.config), str(self.root)
        return ("--config-file", config, "--root", root)

    @property
    def socket(self) -> Path:
        """Where the agent answers the hook of this host."""
        return Path(f"{self.root}{AGENT_SOCKET}")

    @contextmanager
    def agent(self, prelude: str = "", *words: str) -> Iterator[Agent]:
        """Answer the hook inside, as the agent does.

        :param prelude: Python that is run before.
        :param words: arguments that it removes.
        """
        argv = (
            *(sys.executable, "-c", prelude + ANSWERS, *words),
            *(str(self.socket), *self.options),
        )
        pipe = subprocess.PIPE
        with subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            agent = Agent(process)
            try:
                yield agent
            finally:
                _, agent.errors = process.communicate()

    def free(self, uuid: str) -> None:
        """Free what a guest has, as when that was released."""
        ledger = self.ledger()
        for record in ledger.allocation(uuid).units:
            for state in _GIVEN_BACK[_GIVEN_BACK.index(record.state) + 1 :]:
                record = ledger.move(record, state)
        ledger.close()
        (self.state / "ended" / uuid).unlink(missing_ok=True)

    def configure(self, more: str = "") -> None:
        self.config.write_text(
            f"[DEFAULT]\nhost = {HOST}\nstate_path = {self.state}\n{more}"
        )

    def ledger(self) -> SqlLedger:
        return SqlLedger(LedgerSettings(self.url))

    def cli(self, *argv: str) -> Ended:
        """How a command that looks at this host ended."""
        options = ("--root", str(self.root), "--config-file", str(self.config))
        return subprocess.run(
            (self.python, *COMMAND, *options, *argv),
            capture_output=True,
            text=True,
        )

    def install(self, python: str = sys.executable, agent: str = "") -> None:
        """Put the hook in place, wherever this Python is installed.

        :param agent: the agent's socket, where the hook runs.
        """
        program = script.Program(
            python=python,
            entry=libvirt_hook.__file__,
            options=self.options,
            client=hook.client_text(),
            answered=(hook_client.PASSED, hook_client.REFUSED),
            agent=agent or str(self.socket),
        )
        files = Files(str(self.root))
        change = hook_install.plan_install(files, program, None)
        hook_install.apply(files, change)

    def call(
        self,
        text: str | bytes,
        operation: str = "prepare",
        step: str = "begin",
        program: Path | None = None,
    ) -> Ended:
        """How the hook ended, called as libvirt calls it."""
        raw = text.encode() if isinstance(text, str) else text
        done = subprocess.run(
            (str(program or self.program), "guest", operation, step, "-"),
            input=raw,
            capture_output=True,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            timeout=60,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        # Of some steps libvirt takes it for the guest's new XML.
        assert out == ""
        return subprocess.CompletedProcess(done.args, done.returncode, "", err)

    def states(self) -> dict[str, tuple[str, str | None]]:
        """State and holder of each unit, by its lowest primary."""
        ledger = self.ledger()
        found = {
            str(r.unit.key.address): (str(r.state), r.consumer)
            for r in ledger.records(host=HOST)
        }
        ledger.close()
        return found
