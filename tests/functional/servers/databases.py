"""MariaDB and PostgreSQL, each with as many databases as are asked for."""

from __future__ import annotations

import abc
import atexit
import functools
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy
from sqlalchemy.pool import NullPool

from tests.functional.servers.process import Server, owned, run

USER = "tester"
PASSWORD = "s3cret"  # noqa: S105 - of a server on loopback that ends soon
_POSTGRESQL = Path("/usr/lib/postgresql")


class Database(Server):
    """A database server.

    :param options: more of its command's, such as ``--wsrep-on``.
    """

    driver: str
    """The dialect and the driver in SQLAlchemy's URLs."""
    scheme: str
    """The same server in tooz's URLs."""
    administration: str
    """A database that is always there."""

    def __init__(
        self, *, durable: bool = False, options: Sequence[str] = ()
    ) -> None:
        super().__init__(durable=durable)
        self.options = options

    def new_database(self, *, port: int | None = None) -> str:
        """SQLAlchemy's URL of a fresh, empty database.

        :param port: where the URL leads, such as to a proxy's.
        """
        name = f"t{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url_of(name, port=port)

    def url_of(self, name: str, *, port: int | None = None) -> str:
        return self._url(self.driver, name, port)

    def locks_url(self, *, port: int | None = None) -> str:
        """tooz's URL of the same server, for locks."""
        return self._url(self.scheme, self.administration, port)

    def execute(self, statement: str) -> None:
        """Carries it out as the administrator, outside a transaction."""
        engine = sqlalchemy.create_engine(
            self.url_of(self.administration),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def _answers(self) -> bool:
        self.execute("SELECT 1")
        return True

    def _url(self, scheme: str, name: str, port: int | None) -> str:
        place = f"127.0.0.1:{port or self.port}"
        return f"{scheme}://{USER}:{PASSWORD}@{place}/{name}"

    def _prepare(self) -> None:
        subprocess.run(
            ["cp", "-a", "--sparse=always", _template(self), self._data],
            check=True,
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @abc.abstractmethod
    def _install(self, folder: Path) -> None:
        """Makes an empty server's data, in ``folder / "data"``."""


class MariaDB(Database):
    """MariaDB, without what is not tested."""

    driver = "mysql+pymysql"
    scheme = "mysql"
    administration = "mysql"

    def _install(self, folder: Path) -> None:
        run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={folder / 'data'}",
            # Two of them at once take the same name for a table there.
            f"--tmpdir={folder}",
            "--auth-root-authentication-method=normal",
            "--skip-name-resolve",
            "--skip-test-db",
            "--innodb-log-file-size=32M",
            "--innodb-flush-method=nosync",
            folder=folder,
        )

    def _prepare(self) -> None:
        super()._prepare()
        account = f"'{USER}'@'%'"
        (self.folder / "account.sql").write_text(
            f"CREATE USER IF NOT EXISTS {account}"
            f" IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION;\n"
        )
        (self.folder / "account.sql").chmod(0o644)

    def _command(self) -> Sequence[str]:
        # Level 2 hands each commit to the kernel, which outlives mariadbd.
        # Source: MariaDB, innodb_flush_log_at_trx_commit.
        flushing = ("1", "fsync") if self.durable else ("2", "nosync")
        return (
            "/usr/sbin/mariadbd",
            "--no-defaults",
            f"--datadir={self._data}",
            # TMPDIR may be a directory that its user cannot write to.
            f"--tmpdir={self.folder}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--init-file={self.folder / 'account.sql'}",
            f"--innodb-flush-log-at-trx-commit={flushing[0]}",
            f"--innodb-flush-method={flushing[1]}",
            "--innodb-log-file-size=32M",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--max-connections=500",
            *self.options,
        )


class PostgreSQL(Database):
    """PostgreSQL, of the newest release that is installed."""

    driver = "postgresql+psycopg"
    scheme = "postgresql"
    administration = "postgres"
    # Those who are connected are cut off.  Source: PostgreSQL, "Shutting
    # Down the Server".
    _stop_signal = signal.SIGINT

    def _install(self, folder: Path) -> None:
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        run(
            _postgresql("initdb"),
            f"--pgdata={folder / 'data'}",
            f"--username={USER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            folder=folder,
        )

    def _command(self) -> Sequence[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "on" if self.durable else "off",
            "max_connections": 300,
            "shared_buffers": "64MB",
        }
        listed = (f"--{name}={value}" for name, value in settings.items())
        program = _postgresql("postgres")
        return (program, "-D", str(self._data), *listed, *self.options)


def _postgresql(program: str) -> str:
    def release(path: Path) -> float:
        return float(path.parent.parent.name)

    found = sorted(_POSTGRESQL.glob(f"*/bin/{program}"), key=release)
    assert found, f"no {program} below {_POSTGRESQL}; see bindep.txt, servers"
    return str(found[-1])


def _template(server: Database) -> Path:
    return _installed(type(server)) / "data"


@functools.cache
def _installed(kind: type[Database]) -> Path:
    """A folder with an empty server's data; making it takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="gpt-server."))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    owned(folder)
    maker = kind()
    try:
        maker._install(folder)
    finally:
        maker.close()
    return folder
