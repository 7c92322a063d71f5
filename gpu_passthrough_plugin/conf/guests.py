"""Guests: ``[libvirt]``, ``[hook]`` and ``[agent]``."""

from __future__ import annotations

import dataclasses
import re

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import Section
from gpu_passthrough_plugin.model.hook import HookMode
from gpu_passthrough_plugin.model.metric import MetricsAddress

LIBVIRT_GROUP = "libvirt"
# No host's name, and no transport to one.  Source: libvirt.org/uri.html
_URI = re.compile(r"(?:qemu(?:\+unix)?:///system(?:\?\S*)?|test:///\S+)")
_EXPECTED_URI = (
    "expected qemu:///system, or qemu+unix:///system?socket=PATH: the guests"
    " are this host's, and a session's daemon has no access to PCI functions"
)

CONNECTION_URI = cfg.StrOpt(
    "connection_uri",
    default="qemu:///system",
    help="""
The libvirt daemon that starts this host's guests. It has to run on this
host, whose functions it passes through.

Possible values:

* ``qemu:///system``, or ``qemu+unix:///system?socket=PATH`` where the
  daemon's socket is elsewhere; see https://libvirt.org/uri.html
* ``test:///default``: libvirt's test driver, which starts no guest.
""",
)
STOP_TIMEOUT_S = cfg.IntOpt(
    "stop_timeout_s",
    default=60,
    min=0,
    max=3600,
    help="""
How many seconds a guest has to shut down when its instance is released;
after that it is powered off. 0 powers it off at once.
""",
)
LIBVIRT_OPTS = (CONNECTION_URI, STOP_TIMEOUT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Libvirt:
    """The values of ``[libvirt]``."""

    connection_uri: str
    stop_timeout_s: int


def parse_libvirt(section: Section) -> Libvirt:
    """Return the group's values; add its faults to ``section.faults``."""
    uri = str(section.value(CONNECTION_URI))
    if not _URI.fullmatch(uri):
        section.fault(CONNECTION_URI, _EXPECTED_URI)
    return Libvirt(uri, int(section.value(STOP_TIMEOUT_S)))


HOOK_GROUP = "hook"

MODE = cfg.StrOpt(
    "mode",
    default=str(HookMode.ANY),
    help="""
Which functions of a group the libvirt hook requires a guest to take before
it lets the guest start. Guests of ``instance boot`` always take all of them.

Possible values:

* ``any``: as with ``full`` or with ``primary``;
* ``full``: every function of the group except its bridges;
* ``primary``: the selected functions only; the others have to be on
  vfio-pci, on pci-stub or on no driver.

Related options:

* ``nova config --mode`` makes Nova request one or the other.
""",
)
WAIT_S = cfg.IntOpt(
    "wait_s",
    default=60,
    min=0,
    max=600,
    help="""
How many seconds the libvirt hook lets a starting guest wait for a unit that
is still being reset after its previous guest, as when Nova reboots a guest
or gives its card to the next one. libvirt waits as long, also for a ledger
that does not answer (5 seconds at least).
""",
)
HOOK_OPTS = (MODE, WAIT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Hook:
    """The values of ``[hook]``."""

    mode: HookMode
    wait_s: int


def parse_hook(section: Section) -> Hook:
    """Return the group's values; add its faults to ``section.faults``."""
    mode = str(section.value(MODE))
    if mode not in list(HookMode):
        section.fault(MODE, f"expected one of: {', '.join(HookMode)}")
        mode = HookMode.ANY
    return Hook(HookMode(mode), int(section.value(WAIT_S)))


AGENT_GROUP = "agent"

INTERVAL_S = cfg.IntOpt(
    "interval_s",
    default=60,
    min=5,
    max=3600,
    help="""
How many seconds pass between two passes of ``gpu-passthrough-agent`` where
nothing began one: it then compares the ledger, its journal, libvirt and
the kernel once more. The time varies by a tenth, so that the agents of many
hosts do not ask the ledger together. A guest that starts or ends, and a
device that appears, goes or changes its driver, begin a pass at once.
""",
)
NOVA_MARKER = cfg.StrOpt(
    "nova_marker",
    default="",
    sample_default="/var/lib/nova/gpu-passthrough.marker",
    help="""
A file that begins a pass of ``gpu-passthrough-agent`` when it is touched:
what ``[gpu_passthrough] marker`` says in nova-compute's configuration, whose
notification driver touches it when Nova built or deleted an instance. Only
the time of the file is read, every two seconds. It may be missing. Of the
symbolic links in its path, those of root alone are followed. Empty: none.
""",
)
LOST_AFTER_S = cfg.IntOpt(
    "lost_after_s",
    default=120,
    min=0,
    max=86400,
    help="""
After how many seconds without an answer of its agent a host is lost: no
more units of it are allocated, and those that are stay so. 0 for never. One
of the agents watches the others, which takes a ``[coordination]
backend_url`` that keeps groups: etcd, Redis or ZooKeeper.

Choose more than such a server takes to restart. A host that never ran an
agent is never lost.
""",
)
CANARY = cfg.BoolOpt(
    "canary",
    default=False,
    help="""
Whether the agent checks suspect units as ``unit check --clear`` does, and
frees those that pass: once, and after a failure again an hour, four and 16
hours later. A unit that is suspect again within a week of passing is left to
a person.
""",
)
RECYCLE = cfg.BoolOpt(
    "recycle",
    default=False,
    help="""
Whether each pass of ``gpu-passthrough-agent``, and ``agent reconcile``,
does what ``nova recycle`` does: resets, checks and wipes the devices that
Nova reserved in Placement for one use and no instance has any more, and
gives them back. What is in use, or not clean, stays reserved. Needs
``[placement]``, whatever ``[allocation] driver`` is.
""",
)
NOVA_HOST = cfg.StrOpt(
    "nova_host",
    default="",
    sample_default="compute1.example.org",
    help="""
Nova's name of this host's hypervisor, as ``openstack hypervisor list`` shows
it, for ``recycle``. Empty: ``[DEFAULT] host``.
""",
)
FENCE_COMMAND = cfg.StrOpt(
    "fence_command",
    default="",
    help="""
A program, by its path, with its arguments, that powers a lost host off,
such as through its management controller. The agents' leader runs it once
for a host that is marked as lost, without a shell. Exit status 0 means that
the host is off: it is fenced then, as by ``inventory fence``. After any
other end its claims stay, and the command is run again after pauses that
grow from one minute to an hour. Without it, an operator fences hosts.

It is told about the host in the variables ``GPU_PASSTHROUGH_HOST`` and
``GPU_PASSTHROUGH_REASON``. It has to be on every host that may lead, with
the same configuration, must not return 0 before the host is off, and has to
return 0 for one that is off already.
""",
)
FENCE_TIMEOUT_S = cfg.IntOpt(
    "fence_timeout_s",
    default=60,
    min=1,
    max=600,
    help="""
How many seconds ``fence_command`` may take for a host; it is killed after
that, and the host is not fenced.
""",
)
METRICS_ADDRESS = cfg.StrOpt(
    "metrics_address",
    default="",
    sample_default="unix:/run/gpu-passthrough/metrics.sock",
    help="""
Where the agent serves metrics to Prometheus. It is read when the agent
starts, and needs the Python package ``prometheus_client``.

Possible values:

* empty: nowhere
* ``unix:PATH``: a socket that only root can use, in a folder that only root
  can change
* ``127.0.0.1:PORT`` or ``[::1]:PORT``: every user of this host can read it
""",
)
AGENT_OPTS = (
    INTERVAL_S,
    NOVA_MARKER,
    LOST_AFTER_S,
    CANARY,
    RECYCLE,
    NOVA_HOST,
    FENCE_COMMAND,
    FENCE_TIMEOUT_S,
    METRICS_ADDRESS,
)
_LOOPBACK = re.compile(r"(127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})")


@dataclasses.dataclass(frozen=True, slots=True)
class Agent:
    """The values of ``[agent]``.

    :param nova_marker: an absolute path; empty for none.
    :param fence_command: a program and its arguments; empty for none.
    :param metrics_address: None where no metrics are served.
    """

    interval_s: int
    nova_marker: str = ""
    lost_after_s: int = 120
    canary: bool = False
    recycle: bool = False
    nova_host: str = ""
    fence_command: tuple[str, ...] = ()
    fence_timeout_s: int = 60
    metrics_address: MetricsAddress | None = None


def parse_agent(section: Section) -> Agent:
    """Return the group's values; add its faults to ``section.faults``."""
    marker = str(section.value(NOVA_MARKER) or "")
    if marker and not marker.startswith("/"):
        section.fault(NOVA_MARKER, "expected an absolute path, or none")
    return Agent(
        int(section.value(INTERVAL_S)),
        marker,
        int(section.value(LOST_AFTER_S)),
        bool(section.value(CANARY)),
        bool(section.value(RECYCLE)),
        str(section.value(NOVA_HOST) or ""),
        section.command(FENCE_COMMAND),
        int(section.value(FENCE_TIMEOUT_S)),
        _metrics_address(section),
    )


def _metrics_address(section: Section) -> MetricsAddress | None:
    """Return where metrics are served; add a fault if that is no place."""
    text = str(section.value(METRICS_ADDRESS) or "").strip()
    path = text.removeprefix("unix:")
    match = _LOOPBACK.fullmatch(text)
    if not text:
        return None
    # As an absolute path has it, with a name at its end.
    if path != text and re.fullmatch(r"(?:/[^/\0]+){2,}", path):
        return MetricsAddress(path)
    if match and int(match[2]) < 1 << 16:
        return MetricsAddress("", match[1].strip("[]"), int(match[2]))
    section.fault(
        METRICS_ADDRESS,
        "expected unix: and an absolute path, 127.0.0.1:PORT or [::1]:PORT:"
        " other hosts must not reach it",
    )
    return None
