"""Where the command starts; the quick answers import next to nothing."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType

DISTRIBUTION = "gpu-passthrough-plugin"

_COMPLETION = "gpu-passthrough.bash"
# What a shell says of a command that a signal ended.
_SIGNALLED = 128


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0 done, 1 the answer is no, 2 the call is wrong."""
    _open_standard_streams()
    try:
        status = _answer(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read has enough; Python must not try again at its end.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end
        return _SIGNALLED + signal.SIGPIPE
    except KeyboardInterrupt:
        return _SIGNALLED + signal.SIGINT
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end
        print(
            f"gpu-passthrough: cannot print the answer: {error.strerror}",
            file=sys.stderr,
        )
        return 2


def _answer(words: list[str]) -> int:
    if "--version" in words:
        print(f"gpu-passthrough {version()}")
        return 0
    if words == ["complete"]:
        sys.stdout.write(completion())
        return 0
    if "list" in words:
        from gpu_passthrough_plugin.cli import fastpath

        call = fastpath.parsed(words)
        if call and not fastpath.is_left_to_cliff(call):
            return fastpath.answer(call)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has SIGHUP ignored, and that must stay so.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    from gpu_passthrough_plugin.cli.app import App

    return App().run(words)


def version() -> str:
    """Such as ``1.2.3``."""
    from importlib import metadata

    return metadata.version(DISTRIBUTION)


def completion() -> str:
    """The bash completion script, as it was generated."""
    folder = os.path.dirname(os.path.dirname(__file__))
    path = os.path.join(folder, "data", _COMPLETION)
    with open(path, encoding="utf-8") as file:
        return file.read()


def _stop(number: int, _frame: FrameType | None) -> None:
    """Leave by way of every ``finally``, so that a boot is undone."""
    raise SystemExit(_SIGNALLED + number)


def _open_standard_streams() -> None:
    """A closed one would give its number to the next file that is opened."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free: the one that was closed.
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the locale has no letters for, such as a mount point
        # in another encoding, must not cost the whole answer.
        sys.stdout.reconfigure(errors="backslashreplace")
