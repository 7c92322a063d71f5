"""The loop of the agent: one pass after another, and what begins one.

A pass begins when a guest starts or ends, when libvirt is back, when a device
changes, when Nova built or deleted an instance, on SIGHUP, and after an
interval.  It is the same whatever began it, so that an event that is lost
costs no more than the interval; and however many events come, passes begin no
more often than every few seconds.

libvirt's own event loop is used: ``libvirtaio`` may only be called from its
own thread, and passes call libvirt as well.
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import libvirt

from gpu_passthrough_plugin.host.agent_triggers import Marker, watch_devices

_JITTER = 0.1
# Events come in groups: libvirt reports several steps of one start.
_SETTLE_S = 1.0
# What events cost at most, however many come: a pass in this time.
_MIN_PERIOD_S = 3.0
# How often Nova's marker is looked at.
_MARKER_S = 2.0
# A pass waits for devices that are reset: none takes as long as this.
_MAX_PASS_S = 1800.0
_RECONNECT_S = (1.0, 5.0, 15.0, 60.0)
_KEEPALIVE_S, _KEEPALIVE_COUNT = 5, 5
# What systemd tells a service.
# Source: systemd, sd_notify(3), systemd.service(5) (WatchdogSec).
_SOCKET = "NOTIFY_SOCKET"
_WATCHDOG_US = "WATCHDOG_USEC"
_WATCHDOG_PID = "WATCHDOG_PID"


class Due(NamedTuple):
    """When the next pass begins.

    :param interval_s: after how many seconds at the latest.
    :param marker: the file that begins one when it is touched; "" for none.
    """

    interval_s: float
    marker: str = ""


class AgentLoop:
    """Passes, one at a time, until SIGTERM or SIGINT.

    A process has one: libvirt's event loop cannot be stopped.

    :param work: one pass; it reports its errors itself, and returns when the
        next begins.
    :param libvirt_uri: of the libvirt whose guests begin a pass.
    :param say: called with a line when a trigger is lost and back.
    """

    def __init__(
        self,
        work: Callable[[], Due],
        libvirt_uri: str,
        say: Callable[[str], None],
    ) -> None:
        self._work = work
        self._uri = libvirt_uri
        self._say = say
        # A signal's handler may put into it, whatever it interrupts.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_ended = False
        self._begun_s: float | None = None
        self._marker = Marker("", say)

    def run(self) -> None:
        """Run until a signal ends it; a pass under way is completed.

        In the main thread, which alone handles signals.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGHUP, lambda _number, _frame: self._wake())
        for run in (
            self._watch_libvirt,
            lambda: watch_devices(self._wake, self._say),
            self._feed_watchdog,
        ):
            threading.Thread(target=run, daemon=True).start()
        notify("READY=1")
        while True:
            # What comes after this begins the next pass.
            self._forget_wakes()
            if self._is_ended:
                break
            self._begun_s = begun_s = time.monotonic()
            due = self._work()
            self._begun_s = None
            if due.marker != self._marker.path:
                self._marker = Marker(due.marker, self._say)
                threading.Thread(
                    target=self._watch_marker,
                    args=(self._marker,),
                    daemon=True,
                ).start()
            self._wait(due.interval_s, begun_s)
        notify("STOPPING=1")

    def _end(self, _number: int, _frame: object) -> None:
        self._is_ended = True
        self._wake()

    def _wake(self) -> None:
        # One is as good as many, which would take memory in a long pass.
        if self._wakes.empty():
            self._wakes.put(None)

    def _forget_wakes(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._wakes.get_nowait()

    def _wait(self, interval_s: float, begun_s: float) -> None:
        """Return when the next pass is due.

        :param begun_s: when the last one began.
        """
        varied = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
        due_s = time.monotonic() + interval_s * varied
        if not self._is_woken(due_s):
            return
        now_s = time.monotonic()
        settled_s = max(now_s + _SETTLE_S, begun_s + _MIN_PERIOD_S)
        while not self._is_ended and time.monotonic() < settled_s:
            # SIGTERM ends the wait.
            self._is_woken(settled_s)

    def _is_woken(self, until_s: float) -> bool:
        """Wait no longer than until then; return whether it woke."""
        try:
            self._wakes.get(timeout=max(0.0, until_s - time.monotonic()))
        except queue.Empty:
            return False
        return True

    def _watch_marker(self, marker: Marker) -> None:
        """Have each touch of a marker begin a pass, while it is the marker.

        In a thread of its own: its file system may be one that never answers.
        """
        while marker.path and marker is self._marker:
            if marker.is_touched():
                self._wake()
            time.sleep(_MARKER_S)

    def _feed_watchdog(self) -> None:
        """Tell systemd that the process lives, unless a pass never ends."""
        silence_s = watchdog_s()
        while silence_s is not None:
            begun_s = self._begun_s
            if begun_s is None or time.monotonic() - begun_s < _MAX_PASS_S:
                notify("WATCHDOG=1")
            time.sleep(silence_s / 3)

    def _watch_libvirt(self) -> None:
        """Have each guest that starts or ends begin a pass."""
        # Before any connection is opened: its events are reported by this.
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_report_events, daemon=True).start()
        attempt = 0
        while True:
            closed = threading.Event()
            try:
                connection = self._connected(closed)
            except libvirt.libvirtError:
                # Each pass tells that it does not answer.
                time.sleep(_RECONNECT_S[attempt])
                attempt = min(attempt + 1, len(_RECONNECT_S) - 1)
                continue
            attempt = 0
            # What happened before the connection was there is not reported.
            self._wake()
            closed.wait()
            self._say("the connection to libvirt ended; connecting again")
            with contextlib.suppress(libvirt.libvirtError):
                connection.close()
            time.sleep(_RECONNECT_S[0])

    def _connected(self, closed: threading.Event) -> Any:
        """Return a connection on which guests' starts and ends are reported.

        :param closed: set when the connection ends.
        :raises libvirtError: when libvirt does not answer.
        """
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        connection = libvirt.openReadOnly(self._uri)
        with contextlib.suppress(libvirt.libvirtError):
            # The driver for tests has neither.
            connection.registerCloseCallback(
                lambda *_arguments: closed.set(), None
            )
            connection.setKeepAlive(_KEEPALIVE_S, _KEEPALIVE_COUNT)
        connection.domainEventRegisterAny(
            None,
            libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            lambda *_arguments: self._wake(),
            None,
        )
        return connection


def _report_events() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            time.sleep(_RECONNECT_S[0])


def notify(state: str) -> None:
    """Send a state, such as ``READY=1``; do nothing outside of systemd."""
    path = os.environ.get(_SOCKET, "")
    if path[:1] not in ("/", "@"):
        return
    # Abstract sockets are written with an @ for their zero byte.
    address = f"\0{path[1:]}" if path.startswith("@") else path
    # A service manager that is away is no reason to end.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        sender.settimeout(1)
        sender.sendto(state.encode(), address)


def watchdog_s() -> float | None:
    """Return after how many seconds of silence systemd restarts the service.

    None where it does not.
    """
    microseconds = os.environ.get(_WATCHDOG_US, "")
    process = os.environ.get(_WATCHDOG_PID, str(os.getpid()))
    if not microseconds.isdecimal() or process != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000 or None
