"""Entry point of the libvirt hook: ``OPTIONS -- NAME OPERATION STEP …``.

Without cliff, because libvirt waits.  The product is imported late, so that
an import that fails is reported as well.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import syslog
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gpu_passthrough_plugin.cli import main
from gpu_passthrough_plugin.model.hook import BEGUN, CALLER
from gpu_passthrough_plugin.model.reading import printable

if TYPE_CHECKING:
    from gpu_passthrough_plugin.cli.context import Context
    from gpu_passthrough_plugin.flow.hook import HookContext
    from gpu_passthrough_plugin.flow.ledger_cache import LedgerCache
    from gpu_passthrough_plugin.model.metric import CountedEvent

START = "prepare"
# How long anything else than the ledger may take.
_START_LIMIT_S = 30
_COMMAND = (
    "import sys; from gpu_passthrough_plugin.cli.main import main;"
    " sys.exit(main())"
)


def run() -> int:
    """Run the hook; return its exit status."""
    return respond(sys.argv[1:], _read_input, _own_context, _write_error)


def _read_input() -> bytes:
    from gpu_passthrough_plugin.formats.domain_xml import MAX_BYTES

    return sys.stdin.buffer.read(MAX_BYTES + 1)


def respond(
    words: Sequence[str],
    read: Callable[[], bytes],
    open_context: Callable[[Sequence[str], str, str], HookContext],
    write: Callable[[bytes], None],
) -> int:
    """Respond to one call of the hook; return its exit status.

    An error refuses a start.  At any other step it is only logged: libvirt
    would kill a running guest.

    :param words: the hook's arguments.
    :param read: returns the domain's XML.
    :param open_context: is given the options, the operation and the
        domain's name; called only for a guest with PCI functions.
    :param write: writes a line to where libvirt reads it.
    """
    # libvirt's own words, of which the step and what follows say nothing.
    name, operation = (*words[-4:], "", "")[:2]
    try:
        main.open_standard_streams()
        options, (name, operation, *_) = split(words)
        from gpu_passthrough_plugin.flow import hook

        return hook.act(
            lambda: open_context(options, operation, name),
            name,
            operation,
            read(),
            write,
        )
    except Exception as error:  # noqa: BLE001 - reported in one line
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        line = f"gpu-passthrough: domain {name}: {reason}"
        return _fail(line, operation, write)


def split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the options, and what libvirt gave the hook.

    :raises ValueError: when that is too little.
    """
    end = words.index("--") if "--" in words else len(words)
    if len(words[end:]) <= len(("NAME", "OPERATION")):
        raise ValueError(
            f"{' '.join(words)!r} is not a valid call of the hook; expected"
            " OPTIONS -- NAME OPERATION STEP EXTRA"
        )
    return words[:end], words[end + 1 :]


def _fail(line: str, operation: str, write: Callable[[bytes], None]) -> int:
    """Report an error that no other code handles; return the exit status.

    Nothing here may fail in its turn: Python's own exit status would be 1.
    """
    text = printable(line)
    write(f"{text}\n".encode())
    if operation == START:
        return 1
    syslog.syslog(syslog.LOG_DAEMON | syslog.LOG_WARNING, text)
    return 0


def _write_error(line: bytes) -> None:
    with contextlib.suppress(OSError):
        # What stays in a buffer makes Python fail when it ends.
        os.write(2, line)


def _own_context(
    options: Sequence[str], operation: str, name: str
) -> HookContext:
    """Return what the hook needs that does its work in its own process."""
    from gpu_passthrough_plugin.host import hook_process

    # Until the configuration is read, whose disk may hang.
    hook_process.kill_after(_START_LIMIT_S)
    caller = hook_process.Caller(_caller_pid(), os.getpid())
    if operation == START:
        caller.end_with_it()
    context = context_of(options, operation)

    def within(limit_s: float, work: Callable[[], bool], late: str) -> bool:
        # Its modules are loaded here: what is limited is what may hang.
        ledger = context.ledger

        def close_after() -> bool:
            try:
                return work()
            finally:
                ledger.close()

        hook_process.kill_after(math.ceil(limit_s) + _START_LIMIT_S)
        return hook_process.within(limit_s, close_after, late)

    def hand_over(log: str, words: Sequence[str]) -> None:
        if "ledger" in vars(context):
            # No connection may be shared with the other process.
            context.ledger.close()
        run_detached(log, words)

    return hook_context(
        context,
        name,
        hand_over=release_by(context, options, hand_over),
        require_caller=caller.require if operation == START else _nothing,
        within=within,
        age_s=_age_s(),
    )


def context_of(
    options: Sequence[str],
    operation: str,
    ledgers: LedgerCache | None = None,
) -> Context:
    """Return the context of a call of the hook with these options."""
    from gpu_passthrough_plugin.cli.context import Context

    pairs = list(zip(options[::2], options[1::2], strict=True))
    roots = [value for option, value in pairs if option == "--root"]
    files = [value for option, value in pairs if option == "--config-file"]
    root = roots[0] if roots else "/"
    return Context(root, None, files, f"hook {operation}", ledgers)


def hook_context(
    context: Context,
    name: str,
    *,
    hand_over: Callable[[str], None],
    require_caller: Callable[[], None],
    within: Callable[[float, Callable[[], bool], str], bool],
    age_s: float = 0.0,
) -> HookContext:
    """Return what a call of the hook needs.

    :param name: of the domain; what else it is given is ``HookContext``'s.
    """
    from gpu_passthrough_plugin.flow.hook import HookContext
    from gpu_passthrough_plugin.host.ended_guests import EndedGuests
    from gpu_passthrough_plugin.host.instance_journal import InstanceJournal

    settings = context.settings
    return HookContext(
        host=settings.host,
        guest_name=name,
        tree=context.tree,
        policy=context.policy,
        open_ledger=lambda: context.ledger,
        journal=InstanceJournal(os.path.join(context.state_path, "instances")),
        ended=EndedGuests(os.path.join(context.state_path, "ended")),
        mode=settings.hook.mode,
        wait_s=settings.hook.wait_s,
        hand_over=hand_over,
        require_caller=require_caller,
        within=within,
        age_s=age_s,
        count=lambda event, *details: _count(context, event, *details),
    )


def _count(context: Context, event: CountedEvent, *details: str) -> None:
    """Count an event; most calls of the hook have none, and import nothing."""
    from gpu_passthrough_plugin.host import event_counters

    event_counters.of_host(context.state_path).count(event, *details)


def _nothing() -> None:
    return


def _caller_pid() -> int:
    """Return what called the hook's script, as its shell noted it first."""
    noted = os.environ.get(CALLER, "")
    return int(noted) if noted.isdecimal() else os.getppid()


def _age_s() -> float:
    """Return for how long libvirt waited before, for the agent."""
    try:
        begun_s = float(os.environ.get(BEGUN, ""))
    except ValueError:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - begun_s)


def release_by(
    context: Context,
    options: Sequence[str],
    hand_over: Callable[[str, Sequence[str]], None],
) -> Callable[[str], None]:
    """Return what releases an instance's units in another process.

    :param hand_over: has that process run a command, given its log and the
        command's words.
    """

    def start(uuid: str) -> None:
        words = [*options, "hook", "release", "--patience", "600", uuid]
        hand_over(os.path.join(context.state_path, "hook.log"), words)

    return start


def run_detached(log: str, words: Sequence[str]) -> None:
    """Run a command of this product in a process that outlives this one."""
    from gpu_passthrough_plugin.host.hook import detached

    detached(
        (sys.executable, "-I", "-c", _COMMAND, *words),
        lambda: main.main(list(words)),
        log=log,
    )


if __name__ == "__main__":
    sys.exit(run())
