"""``[DEFAULT]``: this host's name, and where its state is kept."""

from __future__ import annotations

import os
import re

from oslo_config import cfg

from gpu_passthrough_plugin import defaults
from gpu_passthrough_plugin.conf.section import DEFAULT, Section

GROUP = DEFAULT
_HOST = re.compile(r"[^\s/]{1,255}")

HOST = cfg.StrOpt(
    "host",
    default=os.uname().nodename,
    sample_default="compute-1",
    help="""
Name of this host in the ledger. It is a part of every unit's name
(``HOST/ADDRESS``), so do not change it later: under another name, the same
cards are other units. The default is the system's node name.

Possible values:

* a name of 1 to 255 characters without blanks and slashes; where OpenStack
  Nova runs as well, the same as its ``[DEFAULT] host``.
""",
)
STATE_PATH = cfg.StrOpt(
    "state_path",
    default=defaults.STATE_PATH,
    help="""
Folder for the embedded ledger, this host's locks and journals, and the
drivers that functions had before guests were given them. It has to survive a
reboot and to be writable by root only.

Possible values:

* an absolute path; the folder is created if it is missing.
""",
)
OPTS = (HOST, STATE_PATH)


def host(section: Section) -> str:
    """Return this host's name in the ledger."""
    name = str(section.value(HOST))
    if not _HOST.fullmatch(name):
        section.fault(
            HOST,
            "expected 1 to 255 characters without blanks and slashes",
        )
    return name


def state_path(section: Section) -> str:
    """Return the folder for state: an absolute path."""
    path = str(section.value(STATE_PATH))
    if not path.startswith("/"):
        section.fault(STATE_PATH, "expected an absolute path")
    return path
