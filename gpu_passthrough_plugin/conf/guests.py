"""Guests: ``[libvirt]``, ``[hook]``, ``[release]`` and ``[agent]``."""

from __future__ import annotations

import dataclasses
import re
import shlex

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import Section
from gpu_passthrough_plugin.model.hook import HookMode
from gpu_passthrough_plugin.model.sanitising import SanitiseSettings

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


RELEASE_GROUP = "release"

RESTORE_DRIVERS = cfg.BoolOpt(
    "restore_drivers",
    default=True,
    help="""
Whether released functions are bound to the drivers again that they had
before a guest was given them. Set it to false where every selected card is
for guests only: functions then stay on vfio-pci, and the next instance
starts sooner.
""",
)
# The kernel itself waits as long for a function that was reset.  Source:
# drivers/pci/pci.h, PCIE_RESET_READY_POLL_MS.
RESET_TIMEOUT_S = cfg.IntOpt(
    "reset_timeout_s",
    default=60,
    min=1,
    max=600,
    help="""
How many seconds a function may take to respond after a reset. A unit with a
function that does not respond is quarantined, and no guest is given it.
""",
)
KERNEL_TIMEOUT_S = cfg.IntOpt(
    "kernel_timeout_s",
    default=120,
    min=5,
    max=3600,
    help="""
How many seconds the kernel may take to reset a function, or to take it from
a driver or give it to one. A process that does not end by then is killed, or
left where the kernel does not let it be killed; the unit is quarantined, and
this host's lock is released. The kernel itself waits up to 60 seconds for a
function that was reset.
""",
)
SANITISE_DRIVER = cfg.StrOpt(
    "sanitise_driver",
    default="",
    help="""
The driver that wipes what a guest left in the memory of a device, between
two resets. If it fails, the unit is quarantined.

Possible values:

* empty: ``command`` where ``sanitise_command`` is set, and none otherwise;
  the event of each released unit then says that it was not sanitised
* ``command``: runs ``sanitise_command``
* the name of a driver that is installed, by its entry point in
  ``gpu_passthrough_plugin.sanitise``
""",
)
SANITISE_COMMAND = cfg.StrOpt(
    "sanitise_command",
    default="",
    help="""
A program, by its path, with its arguments, that wipes what a guest left in
the memory of a device. It is run for each unit between two resets, without a
shell; it has to know a way to reach functions that are on vfio-pci. If it
fails, the unit is quarantined. Without it, the event of each released unit
says that the unit was not sanitised.

It is told about the unit in the variables ``GPU_PASSTHROUGH_HOST``,
``_ADDRESSES`` (separated by spaces, the lowest primary first), ``_GROUP``,
``_VENDOR`` and ``_PRODUCT`` (hexadecimal, of that primary), ``_CONSUMER``,
``_CONSUMER_NAME`` and ``_PREVIOUS_CONSUMER`` (empty where it is not known),
each with that prefix. This host's lock is held while it runs.
""",
)
SANITISE_TIMEOUT_S = cfg.IntOpt(
    "sanitise_timeout_s",
    default=300,
    min=1,
    max=86400,
    help="""
How many seconds the driver may take for a unit; its process is killed after
that, and the unit is quarantined.
""",
)
RELEASE_OPTS = (
    RESTORE_DRIVERS,
    RESET_TIMEOUT_S,
    KERNEL_TIMEOUT_S,
    SANITISE_DRIVER,
    SANITISE_COMMAND,
    SANITISE_TIMEOUT_S,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """The values of ``[release]``.

    :param sanitise_driver: its name; empty for the one that there is.
    """

    restore_drivers: bool
    reset_timeout_s: int
    kernel_timeout_s: int
    sanitise_driver: str
    sanitising: SanitiseSettings


def parse_release(section: Section) -> Release:
    """Return the group's values; add its faults to ``section.faults``."""
    return Release(
        bool(section.value(RESTORE_DRIVERS)),
        int(section.value(RESET_TIMEOUT_S)),
        int(section.value(KERNEL_TIMEOUT_S)),
        str(section.value(SANITISE_DRIVER) or "").strip(),
        SanitiseSettings(
            _sanitise_command(section), int(section.value(SANITISE_TIMEOUT_S))
        ),
    )


def _sanitise_command(section: Section) -> tuple[str, ...]:
    """Return its words; add a fault if they are no program and arguments."""
    text = str(section.value(SANITISE_COMMAND) or "")
    try:
        argv = tuple(shlex.split(text))
    except ValueError:
        argv = ("",)
    if argv and not argv[0].startswith("/"):
        section.fault(
            SANITISE_COMMAND,
            "expected the path of a program, which begins with /, and its"
            " arguments; quotes have to be closed",
        )
        return ()
    return argv


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
AGENT_OPTS = (INTERVAL_S, NOVA_MARKER, LOST_AFTER_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Agent:
    """The values of ``[agent]``.

    :param nova_marker: an absolute path; empty for none.
    """

    interval_s: int
    nova_marker: str = ""
    lost_after_s: int = 120


def parse_agent(section: Section) -> Agent:
    """Return the group's values; add its faults to ``section.faults``."""
    marker = str(section.value(NOVA_MARKER) or "")
    if marker and not marker.startswith("/"):
        section.fault(NOVA_MARKER, "expected an absolute path, or none")
    return Agent(
        int(section.value(INTERVAL_S)),
        marker,
        int(section.value(LOST_AFTER_S)),
    )
