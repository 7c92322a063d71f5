"""Entry point of the libvirt hook: ``OPTIONS -- NAME OPERATION STEP …``.

Without cliff, because libvirt waits.  The product is imported late, so that
an import that fails is reported as well.
"""

from __future__ import annotations

import os
import sys
import syslog
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_passthrough_plugin.cli.context import Context
    from gpu_passthrough_plugin.flow.hook import HookContext

_START = "prepare"
_COMMAND = (
    "import sys; from gpu_passthrough_plugin.cli.main import main;"
    " sys.exit(main())"
)


def main() -> int:
    """Run the hook; return its exit status.

    An error refuses a start.  At any other step it is only logged: libvirt
    would kill a running guest.
    """
    words = sys.argv[1:]
    end = words.index("--")
    options, (name, operation, *_) = words[:end], words[end + 1 :]
    try:
        return _act(options, name, operation)
    except Exception as error:  # noqa: BLE001 - reported in one line
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        line = f"gpu-passthrough: domain {name}: {reason}"
        print(line, file=sys.stderr)
        if operation != _START:
            syslog.syslog(syslog.LOG_DAEMON | syslog.LOG_WARNING, line)
            return 0
        return 1


def _act(options: Sequence[str], name: str, operation: str) -> int:
    from gpu_passthrough_plugin import errors
    from gpu_passthrough_plugin.flow import hook
    from gpu_passthrough_plugin.formats.domain_xml import MAX_BYTES
    from gpu_passthrough_plugin.host.hook import complain

    text = sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        context = _context(options)
    except errors.Error as error:
        is_start = operation == hook.PREPARE
        complain((f"domain {name}: {error}",), is_final=is_start)
        return int(is_start)
    return hook.act(context, name, operation, text)


def _context(options: Sequence[str]) -> HookContext:
    from gpu_passthrough_plugin.cli.context import Context
    from gpu_passthrough_plugin.flow.hook import HookContext
    from gpu_passthrough_plugin.host.instance_journal import InstanceJournal

    pairs = list(zip(options[::2], options[1::2], strict=True))
    roots = [value for option, value in pairs if option == "--root"]
    files = [value for option, value in pairs if option == "--config-file"]
    context = Context(roots[0] if roots else "/", None, files)
    settings = context.settings
    return HookContext(
        host=settings.host,
        tree=context.tree,
        policy=context.policy,
        ledger=context.ledger,
        journal=InstanceJournal(
            os.path.join(settings.state_path, "instances")
        ),
        mode=settings.hook.mode,
        wait_s=settings.hook.wait_s,
        hand_over=_hand_over(context, options),
    )


def _hand_over(
    context: Context, options: Sequence[str]
) -> Callable[[str], None]:
    """Return what releases an instance's units in another process."""
    from gpu_passthrough_plugin.cli.main import main as command
    from gpu_passthrough_plugin.host.hook import detached

    def start(uuid: str) -> None:
        words = [*options, "hook", "release", "--patience", "600", uuid]
        # No connection may be shared with the other process.
        context.ledger.close()
        detached(
            (sys.executable, "-I", "-c", _COMMAND, *words),
            lambda: command(words),
            log=os.path.join(context.settings.state_path, "hook.log"),
        )

    return start


if __name__ == "__main__":
    sys.exit(main())
