"""Values of the libvirt hook that other parts of the product use."""

from __future__ import annotations

import enum
from typing import NamedTuple

HOOK_REQUEST = "hook"
"""The request of a claim that the hook made for a starting guest.

An operator's request never equals it: each of its items has a count.
"""

CALLER = "GPU_PASSTHROUGH_CALLER"
"""The environment variable in which the hook's script notes its caller's pid.
"""


BEGUN = "GPU_PASSTHROUGH_BEGUN"
"""The environment variable with when the script began to ask the agent.

By the clock of ``/proc/uptime``; only where the agent did not answer.
"""

AGENT_SOCKET = "/run/gpu-passthrough/agent.sock"
"""Where the agent answers the hook; a containerised libvirt sees its folder.
"""


class HookMode(enum.StrEnum):
    """Which functions of a group a guest has to take.

    ``full``: every endpoint; ``primary``: each primary alone while its
    companions are reserved; ``any``: either of them.
    """

    ANY = "any"
    FULL = "full"
    PRIMARY = "primary"


class PathFact(NamedTuple):
    """Who may change a file or a folder of the hook.

    :param mode: as ``st_mode`` has it, with its type.
    """

    path: str
    uid: int
    gid: int
    mode: int
