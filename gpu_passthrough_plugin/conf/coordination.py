"""``[coordination]``: where the locks of hosts are kept."""

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
Where locks are kept: a URL of tooz. A command that changes a host's groups
holds that host's lock, so that commands do not conflict. Even if a lock is
lost, the ledger ensures that no unit has two consumers.

Possible values:

* ``file:///PATH``: for the commands of one host;
* ``etcd3+http://SERVER:2379``, ``etcd3+https://SERVER:2379``;
* ``redis://:PASSWORD@SERVER:6379``;
* ``zookeeper://SERVER:2181``;
* ``mysql://USER:PASSWORD@SERVER/DATABASE``: no members;
* ``postgresql://USER:PASSWORD@SERVER:5432/DATABASE``: no members;
* any other backend of tooz.

Each needs its Python package, as in ``pip install
gpu-passthrough-plugin[etcd]``. ``?lock_timeout=30`` at the end of the URL
sets for how many seconds a lock stays with a holder that does not respond;
ZooKeeper's is ``?timeout=10``.
""",
)
TIMEOUT_S = cfg.IntOpt(
    "timeout_s",
    default=60,
    min=1,
    max=3600,
    help="""
How many seconds a command waits for a lock that another command holds, or
for a backend that does not respond. Then it ends without having changed
anything.
""",
)
OPTS = (BACKEND_URL, TIMEOUT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Coordination:
    """The values of ``[coordination]``.

    :param backend_url: tooz's URL; it may hold a password.
    """

    backend_url: str = dataclasses.field(repr=False)
    timeout_s: int


def parse(section: Section) -> Coordination:
    """Return the group's values; add its faults to ``section.faults``."""
    url = str(section.value(BACKEND_URL))
    expected = _expected(url)
    # The default is wrong only if [DEFAULT] state_path is.
    if expected and section.is_set(BACKEND_URL):
        section.fault(BACKEND_URL, expected)
    return Coordination(url, int(section.value(TIMEOUT_S)))


def _expected(url: str) -> str:
    """Return what is expected instead of an invalid URL; "" if it is valid."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "expected a URL: file:///PATH or another backend of tooz"
    if scheme == "file":
        is_absolute = rest.startswith("/")
        return "" if is_absolute else "expected file:///PATH, absolute"
    names = installed_drivers(NAMESPACE)
    return "" if scheme in names else expected_driver(names)
