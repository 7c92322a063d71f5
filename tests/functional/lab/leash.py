"""Nothing that the lab starts outlives it, however it ends."""

DYING_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""Before a command: the kernel kills it when its starter dies."""

ALL_DYING_WITH_US = (
    *DYING_WITH_US, "unshare", "--pid", "--fork", "--kill-child", "--mount",
)  # fmt: skip
"""The same, for whatever the command starts and mounts, too."""
