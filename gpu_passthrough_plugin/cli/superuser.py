"""What a command needs root for, and what it gives up of root's power."""

from __future__ import annotations

import os

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.output import say


def require_root() -> None:
    """Raise if this process does not run as root.

    :raises Invalid: when another user runs it.
    """
    if os.geteuid():
        raise errors.Invalid(
            f"this command needs root, and runs as user {os.geteuid()}; run it"
            " with sudo"
        )


def confine(*, reads_only: bool, runs_tools: bool, is_foreign: bool) -> None:
    """Give up the capabilities that are not needed, for good.

    :param runs_tools: whether the command runs the host's own tools, which
        may need any.
    :param is_foreign: whether the command reads another host.
    """
    if os.geteuid():
        return
    from gpu_passthrough_plugin.host import privileges

    if is_foreign:
        kept = privileges.FILES
    elif reads_only:
        kept = privileges.HOST
    elif runs_tools:
        return
    else:
        kept = privileges.UNITS
    try:
        privileges.keep(kept)
    except OSError as error:
        say(
            "this command keeps all of root's capabilities, because the"
            f" kernel refuses to take any away: {error.strerror}"
        )
