"""``[database]``: where the ledger is, in oslo.db's own options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import Section

GROUP = "database"
# What the migrations and the ledger's statements are tested with.
_DIALECTS = ("sqlite", "mysql", "mariadb", "postgresql")


CONNECTION = cfg.StrOpt(
    "connection",
    default="sqlite:///$state_path/ledger.sqlite",
    secret=True,
    help="""
The database that holds the ledger, as an SQLAlchemy URL. The default is a
file on this host, which serves one host. For several hosts give all of them
the same URL of a server, and install that server's Python driver.

Every other option of oslo.db may stand in this group too:
https://docs.openstack.org/oslo.db/latest/reference/opts.html

Possible values:

* ``sqlite:////PATH`` with an absolute path: four slashes;
* ``mysql+pymysql://USER:PASSWORD@SERVER/DATABASE``, for MariaDB as well;
* ``postgresql+psycopg://USER:PASSWORD@SERVER/DATABASE``.
""",
)
OPTS = (CONNECTION,)


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """What ``[database]`` says.

    :param connection: SQLAlchemy's URL; it may hold a password.
    :param options: what else of oslo.db's the operator set, by name and
        in oslo.db's types: arguments for its ``enginefacade``.
    """

    connection: str = dataclasses.field(repr=False)
    options: Mapping[str, object] = dataclasses.field(repr=False)


def parse(section: Section) -> Database:
    """The group's values; what is wrong in it is in ``section.faults``."""
    connection = str(section.value(CONNECTION))
    wanted = _fault(connection)
    # The default is wrong only where [DEFAULT] state_path is.
    if wanted and section.is_set(CONNECTION):
        section.fault(CONNECTION, wanted)
    return Database(connection, _others(section))


def _others(section: Section) -> dict[str, object]:
    """What the operator set of oslo.db's other options."""
    if section.names() <= {CONNECTION.dest}:
        return {}
    # Imported late: listings read the configuration, and no database.
    from oslo_db import options

    opts = [o for o in options.database_opts if o.dest != CONNECTION.dest]
    section.register(opts)
    return {
        opt.dest: section.value(opt) for opt in opts if section.is_set(opt)
    }


def _fault(connection: str) -> str:
    """What is wanted instead; empty when nothing is plainly wrong."""
    scheme, found, rest = connection.partition("://")
    dialect = scheme.partition("+")[0]
    if not found or dialect not in _DIALECTS:
        return f"wanted DIALECT[+DRIVER]://…, one of: {', '.join(_DIALECTS)}"
    if dialect != "sqlite" or rest.startswith(("//", "/file:")):
        return ""
    # In memory, or below whatever folder a command is called in, each
    # command would keep books of its own and hand the same cards out.
    return "wanted an absolute path: sqlite:////PATH with four slashes"
