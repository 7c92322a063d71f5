"""Run a program of the operator's: bounded in time, output and variables."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.commands import environment
from gpu_passthrough_plugin.model.reading import printable

_GRACE_S = 5
_POLL_MS = 200
_CHUNK_BYTES = 1 << 16
# What is kept of the output: a message has a line of it.
_TAIL_BYTES = 4096
_SHOWN_CHARACTERS = 300


class OperatorCommand:
    """A program that the configuration names.

    :param argv: the program, by its path, and its arguments.
    :param timeout_s: how long it may take; it is killed after that.
    :param subject: what its failure means, such as "not sanitised".
    :param option: that names it, such as "[release] sanitise_command".
    """

    def __init__(
        self,
        argv: Sequence[str],
        timeout_s: float,
        *,
        subject: str,
        option: str,
    ) -> None:
        self._argv = tuple(argv)
        self._timeout_s = timeout_s
        self._subject = subject
        self._option = option

    def run(self, variables: Mapping[str, str]) -> None:
        """Run the program with these variables and those of all commands.

        It gets no other variable, no open file and no shell.

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
                    env=environment() | dict(variables),
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
            f"{self._subject}: {self._argv[0]} ({self._option}) failed:"
            f" {reason}"
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
                f"{self._subject}: {self._argv[0]} (process {process.pid})"
                f" took longer than {self._timeout_s:g} s, and the kernel does"
                " not let it be killed; see the kernel's log"
            ) from error


def _shown(tail: bytes) -> str:
    text = " ".join(tail.decode(errors="replace").split())
    return printable(text[-_SHOWN_CHARACTERS:]) or "no output"
