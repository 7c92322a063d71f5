"""How this host's PCI functions are bound, reset and identified."""

from __future__ import annotations

import logging
import os
import struct
import subprocess
from collections.abc import Callable, Sequence
from typing import Protocol

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import privileges, vfio
from gpu_passthrough_plugin.host.commands import environment
from gpu_passthrough_plugin.host.function_calls import FunctionCalls, Write
from gpu_passthrough_plugin.model.address import Address, parse
from gpu_passthrough_plugin.model.function import (
    Binding,
    Identity,
    Rebind,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

_LOG = logging.getLogger(__name__)

_MODPROBE_TIMEOUT_S = 60
# Vendor, device, command, status, revision, class, cache line, latency and
# header type: enough to tell a virtual function, whose ids read as ones, from
# a device that does not respond.  Source: PCI Local Bus Specification 3.0,
# 6.1.
_HEAD_BYTES = 15
_NO_IDS = b"\xff" * 4


class Devices(Protocol):
    """How PCI functions are changed, and their present state is read."""

    def prepare(self) -> None:
        """Load vfio-pci if it is not loaded.

        :raises Unavailable: when it cannot be loaded.
        """

    def binding(self, address: Address) -> Binding:
        """Return the function's present driver and override.

        :raises ReadFailed: when the host has no such function.
        """

    def rebind(self, rebind: Rebind) -> None:
        """Bind the function as ``rebind.becomes`` says.

        Whatever driver it has now.

        :raises Error: when the kernel does not bind it so.
        """

    def probe(self, address: Address) -> None:
        """Give a function to the driver that the kernel picks; maybe none.

        :raises Refused: when a guest or another program uses its group.
        :raises Error: when the kernel does not take its driver away.
        """

    def require_idle(self, address: Address) -> None:
        """Raise if a guest or another program uses the function's group.

        :raises Error: also when that is unknown.
        """

    def reset_function(
        self, address: Address, method: str | None = None
    ) -> None:
        """Reset one function.

        :param method: the kernel's name of the only method that is tried;
            None for the kernel's own order.
        :raises Stuck: when the kernel does not come back in time.
        :raises Error: when the kernel refuses.
        """

    def reset_bus(
        self, address: Address, iommu_group: int, others: Sequence[int] = ()
    ) -> None:
        """Reset the function's bus and every function on it.

        :param others: further groups that have functions on that bus.
        :raises Stuck: when the kernel does not come back in time.
        :raises Error: when the kernel refuses.
        """

    def identity(self, address: Address) -> Identity | Unknown:
        """Return the function's vendor and device id, as they are read now.

        Those of a device that does not respond are ``ffff:ffff``.
        """


class SysfsDevices:
    """The functions of a running kernel, through ``/sys/bus/pci``.

    Source: kernel, Documentation/ABI/testing/sysfs-bus-pci.

    :param calls: runs what the kernel may never return from.
    :param require_lock: called before each change; raises when the host's
        lock was lost.
    """

    def __init__(
        self,
        calls: FunctionCalls,
        root: str = "/",
        require_lock: Callable[[], None] = lambda: None,
    ) -> None:
        self._calls = calls
        self._require_lock = require_lock
        self._pci = os.path.join(root, "sys/bus/pci")
        self._environment = environment(root)
        self._vfio = os.path.join(root, vfio.FOLDER.removeprefix("/"))

    def prepare(self) -> None:
        self._require_lock()
        if os.path.isdir(f"{self._pci}/drivers/vfio-pci"):
            return
        command = ["modprobe", "vfio-pci"]
        _LOG.info("run %s", " ".join(command))
        try:
            done = subprocess.run(  # noqa: S603 - a fixed argument vector
                command,
                capture_output=True,
                env=self._environment,
                text=True,
                timeout=_MODPROBE_TIMEOUT_S,
                check=False,
            )
        except OSError as error:
            raise errors.Unavailable(
                f"cannot load vfio-pci: modprobe: {error.strerror}; install"
                " kmod"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise errors.Unavailable(
                f"cannot load vfio-pci: modprobe timed out after"
                f" {_MODPROBE_TIMEOUT_S} s; see the kernel's log"
            ) from error
        if done.returncode:
            raise errors.Unavailable(
                f"cannot load vfio-pci: {' '.join(done.stderr.split())};"
                " check that the running kernel has that module, and that"
                " nothing in modprobe.d keeps it from being loaded"
            )

    def binding(self, address: Address) -> Binding:
        # The kernel locks the device for a driver that it takes away.
        if stuck := self._calls.stuck(address):
            raise errors.ReadFailed(
                f"the driver of {address} cannot be read: {stuck}; reboot the"
                " host"
            )
        override = self._read(address, "driver_override").strip()
        return Binding(
            self._driver(address),
            None if override in ("", "(null)") else override,
        )

    def rebind(self, rebind: Rebind) -> None:
        """Set the override first, so that no probe in between ignores it."""
        self._require_lock()
        address, binding = rebind.address, rebind.becomes
        driver = self._driver(address)
        writes = [
            self._override_write(address, binding.override),
            *self._moves(address, driver, binding.driver),
        ]
        title = (
            f"moving {address} from {driver or 'no driver'} to"
            f" {binding.driver or 'no driver'}"
        )
        self._calls.write(title, address, *writes)
        actual = self._driver(address)
        if actual == binding.driver or not binding.driver:
            return
        writes = self._moves(address, actual, None)
        path = f"{self._pci}/drivers/{binding.driver}/bind"
        self._calls.write(title, address, *writes, Write(path, str(address)))
        actual = self._driver(address)
        if actual != binding.driver:
            raise errors.Unavailable(
                f"{address} is on {actual or 'no driver'} after it was bound"
                f" to {binding.driver}; see the kernel's log for the reason"
            )

    def probe(self, address: Address) -> None:
        self._require_lock()
        # The kernel would ask a guest to give it up, and wait for that.
        self.require_idle(address)
        driver = self._driver(address)
        writes = [
            self._override_write(address, None),
            *self._moves(address, driver, None),
            *self._moves(address, None, "any"),
        ]
        self._calls.write(
            f"giving {address} to a driver of the host", address, *writes
        )

    def _override_write(self, address: Address, override: str | None) -> Write:
        path = f"{self._pci}/devices/{address}/driver_override"
        return Write(path, f"{override or ''}\n")

    def _moves(
        self, address: Address, was: str | None, becomes: str | None
    ) -> list[Write]:
        """Return what takes a function from one driver to another."""
        if was == becomes:
            return []
        writes = []
        if was:
            path = f"{self._pci}/drivers/{was}/unbind"
            writes.append(Write(path, str(address)))
        if becomes:
            path = f"{self._pci}/drivers_probe"
            writes.append(Write(path, str(address)))
        return writes

    def require_idle(self, address: Address) -> None:
        path = f"{self._pci}/devices/{address}/iommu_group"
        try:
            number = int(os.path.basename(os.readlink(path)))
        except OSError as error:
            raise errors.ReadFailed(
                f"cannot read {path}: {error.strerror}"
            ) from error
        except ValueError as error:
            raise errors.ReadFailed(f"cannot read {path}: {error}") from error
        vfio.require_idle(number, self._vfio)

    def reset_function(
        self, address: Address, method: str | None = None
    ) -> None:
        self._require_lock()
        # The kernel would reset it even while a guest uses it.
        self.require_idle(address)
        folder = f"{self._pci}/devices/{address}"
        reset = Write(f"{folder}/reset", "1")
        if method is None:
            self._calls.write(f"reset of {address}", address, reset)
            return
        former = self._read(address, "reset_method")
        title = f"{method} reset of {address}"
        if former.split() == [method]:
            self._calls.write(title, address, reset)
            return
        path = f"{folder}/reset_method"
        restored = Write(path, former)
        writes = (Write(path, f"{method}\n"), reset)
        try:
            self._calls.write(title, address, *writes, last=restored)
        except errors.Stuck:
            # A child that was killed restored nothing.
            if not self._calls.stuck(address):
                self._calls.write(
                    f"reset_method of {address}", address, restored
                )
            raise

    def reset_bus(
        self, address: Address, iommu_group: int, others: Sequence[int] = ()
    ) -> None:
        self._require_lock()
        _LOG.info("reset the bus of %s (group %d)", address, iommu_group)
        self._calls.run(
            f"bus reset of {address}",
            self._peers(address),
            lambda: vfio.hot_reset(address, iommu_group, others),
            # Whoever crashed may have left the group's file to another user.
            keeps=frozenset({privileges.CAP_DAC_OVERRIDE}),
        )

    def _peers(self, address: Address) -> tuple[Address, ...]:
        """Return the functions on the bus of one, with itself."""
        bus = str(address).rpartition(":")[0]
        try:
            names = os.listdir(f"{self._pci}/devices")
        except OSError:
            names = []
        peers = {parse(n) for n in names if n.rpartition(":")[0] == bus}
        return tuple(sorted(peers | {address}))

    def identity(self, address: Address) -> Identity | Unknown:
        # A reset that does not end keeps config space from being read.
        if stuck := self._calls.stuck(address):
            return Unknown(Why.UNREADABLE, stuck)
        path = f"{self._pci}/devices/{address}/config"
        try:
            # Unbuffered: a buffer would read the whole config space, slowly.
            with open(path, "rb", buffering=0) as file:
                head = file.read(_HEAD_BYTES)
        except FileNotFoundError:
            return MISSING
        except OSError as error:
            return Unknown(Why.UNREADABLE, error.strerror or str(error))
        if len(head) < _HEAD_BYTES:
            return Unknown(Why.MALFORMED, head.hex())
        if head[:4] == _NO_IDS and head[4:].strip(b"\xff"):
            return self._virtual_identity(address)
        return Identity(*struct.unpack_from("<HH", head))

    def _virtual_identity(self, address: Address) -> Identity | Unknown:
        """Return a virtual function's ids as the kernel has them.

        Its config space has none.
        Source: SR-IOV specification 1.1, 3.4.1.1 and 3.4.1.2.
        """
        texts = [self._read(address, name) for name in ("vendor", "device")]
        try:
            return Identity(*(int(text, 16) for text in texts))
        except ValueError:
            return Unknown(Why.MALFORMED, " ".join(texts))

    def _driver(self, address: Address) -> str | None:
        path = f"{self._pci}/devices/{address}/driver"
        try:
            return os.path.basename(os.readlink(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.ReadFailed(
                f"cannot read {path}: {error.strerror}"
            ) from error

    def _read(self, address: Address, attribute: str) -> str:
        path = f"{self._pci}/devices/{address}/{attribute}"
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                return file.read()
        except OSError as error:
            raise errors.ReadFailed(
                f"cannot read {path}: {error.strerror}; check that {address}"
                " is still present"
            ) from error
