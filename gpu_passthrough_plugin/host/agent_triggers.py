"""What begins a pass of the agent besides guests: devices, and Nova.

udev, or the kernel itself, reports each PCI function that appears, goes, or
changes its driver.  nova-compute touches a file when it built or deleted an
instance.  Neither is relied on: what a trigger misses, the next pass after
the agent's interval finds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable
from typing import Protocol

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import host_path

# There while udevd runs: only then it reports events.  Source: systemd,
# sd-device/device-monitor.c (device_monitor_new_full).
_UDEV_CONTROL = "/run/udev/control"
# How often it is looked whether udevd came or went.
_CHECK_S = 60.0
# A burst of events wakes the agent once in this time; what does not fit into
# the socket's queue meanwhile is dropped by the kernel.
_PAUSE_S = 0.5
_MAX_BURST = 1000
_RECONNECT_S = (1.0, 5.0, 15.0, 60.0)


class DeviceEvents(Protocol):
    """Events of PCI functions."""

    def wait(self, timeout_s: float) -> bool:
        """Return whether there was one, or some were lost.

        :raises OSError: when events cannot be received any more.
        """

    @property
    def is_current(self) -> bool:
        """Whether they come from where they can be expected now."""


class UdevEvents:
    """Events that udev reports; the kernel's own where udevd does not run.

    The kernel reports that a function is added, removed, bound or unbound;
    not that its ``driver_override`` is written, which by itself has no
    effect.

    :raises ImportError: when the system has no libudev.
    :raises OSError: when there is no netlink, as in some containers.
    """

    def __init__(self) -> None:
        # Imported late: a host may be without libudev.
        import pyudev

        self._source = _source()
        context = pyudev.Context()
        self._monitor = pyudev.Monitor.from_netlink(context, self._source)
        self._monitor.filter_by("pci")
        self._monitor.start()

    def wait(self, timeout_s: float) -> bool:
        try:
            return self._monitor.poll(timeout_s) is not None
        except OSError as error:
            # The queue was full.  Source: netlink(7).
            if error.errno != errno.ENOBUFS:
                raise
            return True

    @property
    def is_current(self) -> bool:
        return self._source == _source()


def _source() -> str:
    return "udev" if os.path.exists(_UDEV_CONTROL) else "kernel"


def watch_devices(
    wake: Callable[[], None],
    say: Callable[[str], None],
    connect: Callable[[], DeviceEvents] = UdevEvents,
) -> None:
    """Call ``wake`` after events of PCI functions, for good.

    Return only where this host can never report any.

    :param say: called with a line where none are reported; once.
    """
    attempt, is_told = 0, False
    while True:
        begun_s = time.monotonic()
        try:
            events = connect()
        except ImportError as error:
            say(_unreported(error))
            return
        except OSError as error:
            if not is_told:
                say(_unreported(error))
            is_told = True
        else:
            if attempt:
                # What happened meanwhile was not reported.
                wake()
            with contextlib.suppress(OSError):
                _follow(events, wake)
        if time.monotonic() - begun_s > _RECONNECT_S[-1]:
            attempt = 0
        time.sleep(_RECONNECT_S[attempt])
        attempt = min(attempt + 1, len(_RECONNECT_S) - 1)


def _unreported(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return (
        f"events of devices are not reported ({reason or error}): a device"
        " that appears, goes or changes its driver is noticed after [agent]"
        " interval_s"
    )


def _follow(events: DeviceEvents, wake: Callable[[], None]) -> None:
    """Call ``wake`` after events; return when others are to be followed."""
    while events.is_current:
        if not events.wait(_CHECK_S):
            continue
        wake()
        time.sleep(_PAUSE_S)
        for _ in range(_MAX_BURST):
            if not events.wait(0):
                break
        else:
            wake()


class Marker:
    """A file that nova-compute touches.

    Only its time is looked at.  The folder may be nova-compute's own: a link
    of another user than root is not followed.

    :param path: absolute; empty for none.
    :param say: called with a line when the file cannot be looked at; once.
    """

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self.path = path
        self._say = say
        self._told = ""
        # Whoever touched it before this looked at it begins a pass.
        self._seen: object = None

    def is_touched(self) -> bool:
        """Return whether it was touched since the last call."""
        if not self.path:
            return False
        now = self._stamp()
        is_new = now is not None and now != self._seen
        self._seen = now
        return is_new

    def _stamp(self) -> object:
        """Return what a touch changes; None for a missing file."""
        try:
            status = _status(self.path)
            if stat.S_ISREG(status.st_mode):
                return status.st_dev, status.st_ino, status.st_mtime_ns
            self._tell("it is not a regular file")
        except FileNotFoundError:
            pass
        except OSError as error:
            self._tell(error.strerror or str(error))
        except errors.Error as error:
            self._tell(str(error))
        return None

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            self._say(
                f"[agent] nova_marker {self.path} begins no pass: {reason}"
            )


def _status(path: str) -> os.stat_result:
    real = host_path.real_path("/", path)
    with host_path.opened_folder("/", real) as folder:
        return os.stat(
            os.path.basename(real), dir_fd=folder, follow_symlinks=False
        )
