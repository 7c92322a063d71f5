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
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gpu_passthrough_plugin.cli import main
from gpu_passthrough_plugin.model.hook import CALLER
from gpu_passthrough_plugin.model.reading import printable

if TYPE_CHECKING:
    from gpu_passthrough_plugin.cli.context import Context
    from gpu_passthrough_plugin.flow.hook import HookContext

_START = "prepare"
# How long anything else than the ledger may take.
_START_LIMIT_S = 30
_COMMAND = (
    "import sys; from gpu_passthrough_plugin.cli.main import main;"
    " sys.exit(main())"
)


def run() -> int:
    """Run the hook; return its exit status.

    An error refuses a start.  At any other step it is only logged: libvirt
    would kill a running guest.
    """
    words = sys.argv[1:]
    # libvirt's own words, of which the step and what follows say nothing.
    name, operation = (*words[-4:], "", "")[:2]
    try:
        main.open_standard_streams()
        options, (name, operation, *_) = _split(words)
        return _act(options, name, operation)
    except Exception as error:  # noqa: BLE001 - reported in one line
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"gpu-passthrough: domain {name}: {reason}", operation)


def _split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the options, and what libvirt gave the hook."""
    end = words.index("--") if "--" in words else len(words)
    if len(words[end:]) <= len(("NAME", "OPERATION")):
        raise ValueError(
            f"{' '.join(words)!r} is not a valid call of the hook; expected"
            " OPTIONS -- NAME OPERATION STEP EXTRA"
        )
    return words[:end], words[end + 1 :]


def _fail(line: str, operation: str) -> int:
    """Report an error that no other code handles; return the exit status.

    Nothing here may fail in its turn: Python's own exit status would be 1.
    """
    text = printable(line)
    with contextlib.suppress(OSError):
        # What stays in a buffer makes Python fail when it ends.
        os.write(2, f"{text}\n".encode())
    if operation == _START:
        return 1
    syslog.syslog(syslog.LOG_DAEMON | syslog.LOG_WARNING, text)
    return 0


def _act(options: Sequence[str], name: str, operation: str) -> int:
    from gpu_passthrough_plugin.flow import hook
    from gpu_passthrough_plugin.formats.domain_xml import MAX_BYTES

    text = sys.stdin.buffer.read(MAX_BYTES + 1)
    return hook.act(
        lambda: _context(options, operation, name), name, operation, text
    )


def _context(options: Sequence[str], operation: str, name: str) -> HookContext:
    from gpu_passthrough_plugin.cli.context import Context
    from gpu_passthrough_plugin.flow.hook import HookContext
    from gpu_passthrough_plugin.host import hook_process
    from gpu_passthrough_plugin.host.ended_guests import EndedGuests
    from gpu_passthrough_plugin.host.instance_journal import InstanceJournal

    # Until the configuration is read, whose disk may hang.
    hook_process.kill_after(_START_LIMIT_S)
    caller = hook_process.Caller(_caller_pid(), os.getpid())
    if operation == _START:
        caller.end_with_it()
    pairs = list(zip(options[::2], options[1::2], strict=True))
    roots = [value for option, value in pairs if option == "--root"]
    files = [value for option, value in pairs if option == "--config-file"]
    root = roots[0] if roots else "/"
    context = Context(root, None, files, f"hook {operation}")
    settings = context.settings

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
        hand_over=_hand_over(context, options),
        require_caller=caller.require if operation == _START else _nothing,
        within=within,
    )


def _nothing() -> None:
    return


def _caller_pid() -> int:
    """Return what called the hook's script, as its shell noted it first."""
    noted = os.environ.get(CALLER, "")
    return int(noted) if noted.isdecimal() else os.getppid()


def _hand_over(
    context: Context, options: Sequence[str]
) -> Callable[[str], None]:
    """Return what releases an instance's units in another process."""
    from gpu_passthrough_plugin.host.hook import detached

    def start(uuid: str) -> None:
        words = [*options, "hook", "release", "--patience", "600", uuid]
        if "ledger" in vars(context):
            # No connection may be shared with the other process.
            context.ledger.close()
        detached(
            (sys.executable, "-I", "-c", _COMMAND, *words),
            lambda: main.main(words),
            log=os.path.join(context.state_path, "hook.log"),
        )

    return start


if __name__ == "__main__":
    sys.exit(run())
