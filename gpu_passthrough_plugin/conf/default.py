"""``[DEFAULT]``: who this host is, and where it keeps its state."""

from __future__ import annotations

import os
import re

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import DEFAULT, Section

GROUP = DEFAULT
_HOST = re.compile(r"[^\s/]{1,255}")

HOST = cfg.StrOpt(
    "host",
    default=os.uname().nodename,
    sample_default="compute-1",
    help="""
Name of this host in the ledger. A unit is known by it and by an address,
so choose it once: under another name the same cards are other units. The
default is the system's node name.

Possible values:

* a name of 1 to 255 characters without blanks and slashes; where OpenStack
  Nova runs too, the same as its ``[DEFAULT] host``.
""",
)
STATE_PATH = cfg.StrOpt(
    "state_path",
    default="/var/lib/gpu-passthrough",
    help="""
Folder that outlives a reboot and that only root can write: the embedded
ledger, the locks of this host, and the record of the drivers that
functions had before they were handed out.

Possible values:

* an absolute path; it is created when it is missing.
""",
)
OPTS = (HOST, STATE_PATH)


def host(section: Section) -> str:
    """This host's name in the ledger."""
    name = str(section.value(HOST))
    if not _HOST.fullmatch(name):
        section.fault(
            HOST,
            "wanted a name of 1 to 255 characters without blanks and slashes",
        )
    return name


def state_path(section: Section) -> str:
    """The folder for state: an absolute path."""
    path = str(section.value(STATE_PATH))
    if not path.startswith("/"):
        section.fault(STATE_PATH, "wanted an absolute path")
    return path
