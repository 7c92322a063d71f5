"""Which machine a host is, whatever it is called."""

from __future__ import annotations

import hmac
import re

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.model.reading import Unknown, Why

_PATH = "etc/machine-id"
_ID = re.compile(r"[0-9a-f]{32}")
_PROJECT = b"gpu-passthrough"


def identity(tree: Tree) -> str | Unknown:
    """What tells this installation from any other, in 64 digits.

    The id itself is nobody else's to know.  Source: systemd,
    machine-id(5), and sd_id128_get_machine_app_specific(3).
    """
    found = text(tree, _PATH)
    if isinstance(found, Unknown):
        return found
    if not _ID.fullmatch(found):
        # Such as "uninitialized", before the first boot is over.
        return Unknown(Why.MALFORMED, f"no id in {_PATH}")
    return hmac.digest(bytes.fromhex(found), _PROJECT, "sha256").hex()
