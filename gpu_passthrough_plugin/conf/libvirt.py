"""``[libvirt]``: the hypervisor that guests run on."""

from __future__ import annotations

import dataclasses
import re

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import Section

GROUP = "libvirt"
_URI = re.compile(r"[a-z]+(\+[a-z0-9]+)?://\S*")

CONNECTION_URI = cfg.StrOpt(
    "connection_uri",
    default="qemu:///system",
    help="""
The libvirt daemon that starts this host's guests. It has to run on this
host, because functions are bound here.

Possible values:

* a libvirt URI; see https://libvirt.org/uri.html
""",
)
STOP_TIMEOUT_S = cfg.IntOpt(
    "stop_timeout_s",
    default=60,
    min=0,
    max=3600,
    help="""
How many seconds a guest has to shut down when its instance is released;
then it is switched off. 0 switches it off at once.
""",
)
OPTS = (CONNECTION_URI, STOP_TIMEOUT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Libvirt:
    """What ``[libvirt]`` says."""

    connection_uri: str
    stop_timeout_s: int


def parse(section: Section) -> Libvirt:
    """The group's values; what is wrong in it is in ``section.faults``."""
    uri = str(section.value(CONNECTION_URI))
    if not _URI.fullmatch(uri):
        section.fault(
            CONNECTION_URI, "wanted a libvirt URI such as qemu:///system"
        )
    return Libvirt(uri, int(section.value(STOP_TIMEOUT_S)))
