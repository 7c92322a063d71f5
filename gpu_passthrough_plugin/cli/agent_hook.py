"""How the agent answers the libvirt hook: with what the hook itself does.

The configuration is read at each request.  Modules and connections are kept.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import libvirt_hook
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.flow.hook import HookContext
from gpu_passthrough_plugin.flow.ledger_cache import LedgerCache
from gpu_passthrough_plugin.host.hook_socket import Request
from gpu_passthrough_plugin.host.hook_worker import Call


def options_of(config_files: Sequence[str]) -> tuple[str, ...]:
    """Return the options of a hook that reads the same configuration."""
    return tuple(
        word
        for path in config_files
        for word in ("--config-file", os.path.abspath(path))
    )


def import_all(context: Context) -> None:
    """Import what a request needs, for all the processes that answer."""
    # What is wrong with it is told by each pass.
    with contextlib.suppress(errors.Error):
        # Nothing is opened yet.
        _ = context.ledger, context.policy


class HookAnswerer:
    """Answers the hook; one of them a process.

    :param options: the only ones that a hook is answered with: who asks must
        not choose what this process reads.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self._options = tuple(options)
        self._ledgers = LedgerCache()
        self._is_mismatch_told = False

    def answer(self, request: Request, call: Call) -> tuple[int, bytes] | None:
        """Return the hook's exit status, and what it would print.

        None for a hook with other options: it does its work itself.

        :raises ValueError: when the call is malformed.
        """
        options, _ = libvirt_hook.split(request.words)
        if tuple(options) != self._options:
            self._tell_mismatch()
            return None
        lines: list[bytes] = []

        def open_context(
            _: Sequence[str], operation: str, name: str
        ) -> HookContext:
            return self._context(operation, name, call)

        status = libvirt_hook.respond(
            request.words, lambda: request.text, open_context, lines.append
        )
        return status, b"".join(lines)

    def rest(self) -> None:
        """Close the connections to the ledger."""
        self._ledgers.close()

    def _context(self, operation: str, name: str, call: Call) -> HookContext:
        context = libvirt_hook.context_of(
            self._options, operation, self._ledgers
        )
        is_start = operation == libvirt_hook.START
        return libvirt_hook.hook_context(
            context,
            name,
            hand_over=libvirt_hook.release_by(
                context, self._options, call.hand_over
            ),
            require_caller=call.require_caller if is_start else _nothing,
            within=call.within,
        )

    def _tell_mismatch(self) -> None:
        """Print why this hook is not answered: once, as it is each time."""
        if self._is_mismatch_told:
            return
        self._is_mismatch_told = True
        say(
            "a libvirt hook is not answered: it was installed with other"
            f" options than this agent's ({' '.join(self._options) or 'none'})"
            "; run 'gpu-passthrough hook install' with the same --config-file"
        )


def _nothing() -> None:
    return
