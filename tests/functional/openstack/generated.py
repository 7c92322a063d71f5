"""What ``nova config -o`` wrote, by who is given it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import NamedTuple

_ALIAS = "gpu-alias.conf"
_COMPUTE = "gpu-compute.conf"
_SCHEDULER = "gpu-scheduler.conf"
_FLAVORS = "gpu-flavors.sh"
_SIZE = re.compile(r"--vcpus \d+ --ram \d+ --disk \d+")
# Nobody has more to give here.
_SMALL = "--vcpus 1 --ram 64 --disk 0"


class Generated(NamedTuple):
    """Files by name, and the commands that make the flavors."""

    control: dict[str, str]
    compute: dict[str, str]
    flavors: str

    @property
    def flavor(self) -> str:
        """The name of the only flavor there is."""
        (command,) = re.findall("^openstack .*", self.flavors, re.M)
        return shlex.split(command)[-1]


def read(text: Callable[[str], str]) -> Generated:
    """All of it, with the flavors made small, as an operator may.

    :param text: a file's text, by its name.
    """
    alias = text(_ALIAS)
    return Generated(
        {_ALIAS: alias, _SCHEDULER: text(_SCHEDULER)},
        {_ALIAS: alias, _COMPUTE: text(_COMPUTE)},
        _SIZE.sub(_SMALL, text(_FLAVORS)),
    )
