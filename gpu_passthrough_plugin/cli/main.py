"""Entry point of ``gpu-passthrough``; quick answers import almost nothing."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType

DISTRIBUTION = "gpu-passthrough-plugin"

_COMPLETION = "gpu-passthrough.bash"
# cliff's script needs a function of the package bash-completion.
_WORDS = """\
_gpu_passthrough_words()
{
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n : "$@"
  else
    cur=${COMP_WORDS[COMP_CWORD]}
    prev=${COMP_WORDS[COMP_CWORD-1]}
    words=("${COMP_WORDS[@]}")
  fi
}
"""
# Added to a signal's number, as shells do for a command that it ended.
_SIGNALLED = 128
_HELP = frozenset({"-h", "--help"})


def main(argv: list[str] | None = None) -> int:
    """Run one command line; return the exit status.

    0 is done, 1 is a negative answer, 2 a wrong call or configuration.
    """
    open_standard_streams()
    try:
        # A process that others use as well keeps what it may do.
        status = _run(
            sys.argv[1:] if argv is None else argv,
            is_own_process=argv is None,
        )
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader closed the pipe; Python must not flush again at exit.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end
        return _SIGNALLED + signal.SIGPIPE
    except KeyboardInterrupt:
        return _SIGNALLED + signal.SIGINT
    except OSError as error:
        from gpu_passthrough_plugin.cli import output

        return output.print_os_error(error)


def _run(words: list[str], *, is_own_process: bool) -> int:
    if "--version" in words:
        print(f"gpu-passthrough {version()}")
        return 0
    if words == ["complete"]:
        sys.stdout.write(completion())
        return 0
    if not is_help(words):
        from gpu_passthrough_plugin.cli import output

        output.escape_standard_streams()
    if "list" in words:
        from gpu_passthrough_plugin.cli import fastpath

        call = fastpath.parse(words)
        if call and not fastpath.needs_cliff(call):
            return fastpath.run(call, is_own_process=is_own_process)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has SIGHUP ignored, and that must stay so.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    from gpu_passthrough_plugin.cli.app import App

    return App(is_own_process=is_own_process).run(words)


def is_help(words: list[str]) -> bool:
    """Return whether only texts of this program are printed, in colour.

    Behind ``--`` is no option, and ``help`` elsewhere is an argument.
    """
    options = words[: words.index("--")] if "--" in words else words
    return words[:1] in ([], ["help"]) or not _HELP.isdisjoint(options)


def version() -> str:
    """Return the installed release, such as ``1.2.3``."""
    from importlib import metadata

    return metadata.version(DISTRIBUTION)


def completion() -> str:
    """Return the generated bash completion script."""
    folder = os.path.dirname(os.path.dirname(__file__))
    path = os.path.join(folder, "data", _COMPLETION)
    with open(path, encoding="utf-8") as file:
        return _WORDS + file.read().replace(
            "_get_comp_words_by_ref -n :", "_gpu_passthrough_words"
        )


def _stop(number: int, _frame: FrameType | None) -> None:
    """Exit through every ``finally``, so that a boot is rolled back."""
    raise SystemExit(_SIGNALLED + number)


def open_standard_streams() -> None:
    """Open closed streams: the next opened file would get their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Gets the lowest free number, which is the closed stream's.
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the locale cannot encode, such as a mount point in
        # another encoding, must not lose the whole answer.
        sys.stdout.reconfigure(errors="backslashreplace")
