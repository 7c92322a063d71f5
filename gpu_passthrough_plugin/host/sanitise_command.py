"""Run the operator's command that wipes what a guest left on a device."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from typing import ClassVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.commands import environment
from gpu_passthrough_plugin.model.reading import printable
from gpu_passthrough_plugin.model.sanitising import (
    SanitiseDriver,
    SanitiseSettings,
    SanitiseTarget,
)

_GRACE_S = 5
_POLL_MS = 200
_CHUNK_BYTES = 1 << 16
# What is kept of the output: a message has a line of it.
_TAIL_BYTES = 4096
_SHOWN_CHARACTERS = 300


class SanitiseCommand(SanitiseDriver):
    """The driver ``command``: runs a program of the operator's."""

    runs_in_child: ClassVar[bool] = False

    def __init__(self, settings: SanitiseSettings) -> None:
        if not settings.command:
            raise errors.Invalid(
                "[release] sanitise_driver = command needs [release]"
                " sanitise_command; set it to the path of a program"
            )
        self._argv = settings.command
        self._timeout_s = settings.timeout_s

    @property
    def title(self) -> str:
        return self._argv[0]

    def sanitise(self, target: SanitiseTarget) -> None:
        """Run the program with the target's variables and no others.

        It gets no open file and no shell.

        :raises Stuck: when it does not end, even killed.
        :raises Unavailable: when it cannot be run, fails, or takes too long.
        """
        reader, writer = os.pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, reader)
            try:
                process = subprocess.Popen(  # noqa: S603 - a vector
                    self._argv,
                    cwd="/",
                    env=environment() | variables(target),
                    stdin=subprocess.DEVNULL,
                    stdout=writer,
                    stderr=writer,
                    start_new_session=True,
                )
            except OSError as error:
                raise self._failed(
                    f"cannot run it: {error.strerror}"
                ) from error
            finally:
                os.close(writer)
            tail = self._read(process, reader)
        if tail is None:
            self._kill(process)
            raise self._failed(
                f"it took longer than {self._timeout_s:g} s and was killed"
            )
        status = process.wait()
        if status:
            ending = f"killed by signal {-status}"
            if status > 0:
                ending = f"exit status {status}"
            raise self._failed(f"{ending}: {_shown(tail)}")

    def _failed(self, reason: str) -> errors.Unavailable:
        return errors.Unavailable(
            f"not sanitised: {self.title} ([release] sanitise_command)"
            f" failed: {reason}"
        )

    def _read(
        self, process: subprocess.Popen[bytes], reader: int
    ) -> bytes | None:
        """Return the end of the output, once the program has ended.

        None if that takes too long.  Programs that it left running do not
        count.
        """
        deadline = time.monotonic() + self._timeout_s
        tail = b""
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        while (left_s := deadline - time.monotonic()) > 0:
            is_ended = process.poll() is not None
            wait_ms = 0 if is_ended else min(left_s * 1000, _POLL_MS)
            if poll.poll(wait_ms):
                chunk = os.read(reader, _CHUNK_BYTES)
                tail = (tail + chunk)[-_TAIL_BYTES:]
                if chunk:
                    continue
                poll.unregister(reader)
            if is_ended:
                return tail
        return None

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired as error:
            raise errors.Stuck(
                f"not sanitised: {self.title} (process {process.pid}) took"
                f" longer than {self._timeout_s:g} s, and the kernel does not"
                " let it be killed; see the kernel's log"
            ) from error


def variables(target: SanitiseTarget) -> dict[str, str]:
    """Return what the program is told about a unit."""
    values = {
        "HOST": target.host,
        "ADDRESSES": " ".join(map(str, target.addresses)),
        "GROUP": str(target.iommu_group),
        "VENDOR": f"{target.vendor_id:04x}",
        "PRODUCT": f"{target.product_id:04x}",
        "CONSUMER": target.consumer.uuid,
        "CONSUMER_NAME": target.consumer.name,
        "PREVIOUS_CONSUMER": target.previous_consumer,
    }
    return {f"GPU_PASSTHROUGH_{name}": value for name, value in values.items()}


def _shown(tail: bytes) -> str:
    text = " ".join(tail.decode(errors="replace").split())
    return printable(text[-_SHOWN_CHARACTERS:]) or "no output"
