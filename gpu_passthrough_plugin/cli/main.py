"""Where the command starts; the quick answers import next to nothing."""

from __future__ import annotations

import signal
import sys
from types import FrameType

_COMPLETION = "gpu-passthrough.bash"


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0 done, 1 the answer is no, 2 the call is wrong."""
    words = sys.argv[1:] if argv is None else argv
    if "--version" in words:
        from gpu_passthrough_plugin.cli.version import version

        print(f"gpu-passthrough {version()}")
        return 0
    if words == ["complete"]:
        sys.stdout.write(completion())
        return 0
    if "list" in words:
        from gpu_passthrough_plugin.cli import quick

        call = quick.parsed(words)
        if call and not quick.is_left_to_cliff(call):
            return quick.answer(call)
    signal.signal(signal.SIGTERM, _stop)
    from gpu_passthrough_plugin.cli.app import App

    return App().run(words)


def completion() -> str:
    """The bash completion script, as it was generated."""
    import os

    folder = os.path.dirname(os.path.dirname(__file__))
    path = os.path.join(folder, "data", _COMPLETION)
    with open(path, encoding="utf-8") as file:
        return file.read()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """Leave by way of every ``finally``, so that a boot is undone."""
    raise SystemExit(128 + signal.SIGTERM)
