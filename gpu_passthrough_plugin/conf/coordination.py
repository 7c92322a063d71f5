"""``[coordination]``: locks that keep commands out of each other's way."""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import (
    Section,
    expected_driver,
    installed_drivers,
)

GROUP = "coordination"
# Source: tooz, setup.cfg, and coordination.get_coordinator, which takes
# the backend from a URL's scheme.
NAMESPACE = "tooz.backends"

BACKEND_URL = cfg.StrOpt(
    "backend_url",
    default="file://$state_path/locks",
    secret=True,
    help="""
Where locks are kept, as tooz takes it. Whoever changes a host's groups
holds that host's lock. Locks keep commands from getting in each other's
way; that no unit has two consumers is the ledger's doing, whatever becomes
of a lock.

Possible values:

* ``file:///PATH``: works between the commands of one host;
* ``etcd3+http://SERVER:2379``, ``etcd3+https://SERVER:2379``;
* ``redis://:PASSWORD@SERVER:6379``;
* ``zookeeper://SERVER:2181``;
* ``mysql://USER:PASSWORD@SERVER/DATABASE``: no members;
* ``postgresql://USER:PASSWORD@SERVER:5432/DATABASE``: no members;
* any other backend of tooz.

Each needs its Python package, as in ``pip install
gpu-passthrough-plugin[etcd]``. ``?lock_timeout=30`` behind any of them but
ZooKeeper, which has ``?timeout=10``, is how many seconds a lock outlives a
holder of which nothing is heard.
""",
)
TIMEOUT_S = cfg.IntOpt(
    "timeout_s",
    default=60,
    min=1,
    max=3600,
    help="""
How many seconds a command waits for a lock that another one holds, or for a
backend that does not answer, before it gives up and changes nothing.
""",
)
OPTS = (BACKEND_URL, TIMEOUT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Coordination:
    """What ``[coordination]`` says.

    :param backend_url: tooz's URL; it may hold a password.
    """

    backend_url: str = dataclasses.field(repr=False)
    timeout_s: int


def parse(section: Section) -> Coordination:
    """The group's values; what is wrong in it is in ``section.faults``."""
    url = str(section.value(BACKEND_URL))
    wanted = _fault(url)
    # The default is wrong only where [DEFAULT] state_path is.
    if wanted and section.is_set(BACKEND_URL):
        section.fault(BACKEND_URL, wanted)
    return Coordination(url, int(section.value(TIMEOUT_S)))


def _fault(url: str) -> str:
    """What is wanted instead; empty when nothing is plainly wrong."""
    scheme, found, rest = url.partition("://")
    if not found:
        return "wanted a URL: file:///PATH or another backend of tooz"
    if scheme == "file":
        return "" if rest.startswith("/") else "wanted file:///PATH, absolute"
    names = installed_drivers(NAMESPACE)
    return "" if scheme in names else expected_driver(names)
