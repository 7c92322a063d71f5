"""``[database]``: the URL of the ledger; other options are oslo.db's."""

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
The database that stores the ledger, as an SQLAlchemy URL. The default is a
file on this host, for a single host. For several hosts, give all of them the
same URL of a MariaDB, MySQL or PostgreSQL server, and install its driver for
Python.

Every other option of oslo.db is valid in this group too:
https://docs.openstack.org/oslo.db/latest/reference/opts.html

Possible values:

* ``sqlite:////var/lib/NAME.sqlite``: an absolute path, so four slashes;
* ``mysql+pymysql://USER:PASSWORD@SERVER/DATABASE``, for MariaDB as well;
* ``postgresql+psycopg://USER:PASSWORD@SERVER/DATABASE``.
""",
)
OPTS = (CONNECTION,)


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """The values of ``[database]``.

    :param connection: SQLAlchemy's URL; it may contain a password.
    :param options: oslo.db's other options that a file sets, by name and in
        oslo.db's types: keyword arguments for its ``enginefacade``.
    """

    connection: str = dataclasses.field(repr=False)
    options: Mapping[str, object] = dataclasses.field(repr=False)


def parse(section: Section) -> Database:
    """Return the group's values; add its faults to ``section.faults``."""
    connection = str(section.value(CONNECTION))
    expected = _expected(connection)
    # The default is wrong only if [DEFAULT] state_path is.
    if expected and section.is_set(CONNECTION):
        section.fault(CONNECTION, expected)
    return Database(connection, _others(section))


def _others(section: Section) -> dict[str, object]:
    """Return oslo.db's other options that a file sets."""
    if section.names() <= {CONNECTION.dest}:
        return {}
    # Imported late: listings read the configuration, but no database.
    from oslo_db import options

    opts = [o for o in options.database_opts if o.dest != CONNECTION.dest]
    section.register(opts)
    section.check_names({CONNECTION.dest, *(opt.dest for opt in opts)})
    return {
        opt.dest: section.value(opt) for opt in opts if section.is_set(opt)
    }


def _expected(connection: str) -> str:
    """Return what is expected instead of an invalid URL; "" if it is valid."""
    scheme, separator, rest = connection.partition("://")
    dialect = scheme.partition("+")[0]
    if not separator or dialect not in _DIALECTS:
        return (
            "expected DIALECT[+DRIVER]://…, where DIALECT is one of"
            f" {', '.join(_DIALECTS)}"
        )
    if dialect != "sqlite" or rest.startswith(("//", "/file:")):
        return ""
    # In memory, or relative to the current folder, each command would have
    # a ledger of its own, and allocate the same cards.
    return "expected an absolute path: sqlite:////PATH with four slashes"
