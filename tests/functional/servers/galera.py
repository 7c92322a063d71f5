"""Two MariaDBs that are one database: Galera, on loopback.

The second begins as a copy of the first, at the position that the first
is at, so that nothing has to be carried over: what does that is in
packages that start services.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import sqlalchemy
from sqlalchemy.pool import NullPool

from tests.functional.servers.databases import MariaDB
from tests.functional.servers.loopback import free_port

_PROVIDER = "/usr/lib/galera/libgalera_smm.so"


class Node(MariaDB):
    """One of them; it starts alone, until it is told of the others."""

    def join(self, port: int, address: str, state: str = "") -> None:
        """Returns when it is one of those at ``address``.

        :param port: where it listens for the others.
        :param state: what it has of the cluster: UUID and position.
        """
        self.stop()
        if state:
            uuid, position = state.split(":")
            file = self._data / "grastate.dat"
            file.write_text(
                f"# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\n"
                f"seqno:   {position}\nsafe_to_bootstrap: 0\n"
            )
            shutil.copystat(self._data, file)
            owner = self._data.stat()
            shutil.chown(file, owner.st_uid, owner.st_gid)
            file.chmod(0o660)
        self.options = (
            "--wsrep-on=ON",
            f"--wsrep-provider={_PROVIDER}",
            f"--wsrep-cluster-address={address}",
            "--wsrep-node-address=127.0.0.1",
            "--wsrep-sst-method=skip",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
            "--wsrep-provider-options="
            f"gmcast.listen_addr=tcp://127.0.0.1:{port};"
            f"ist.recv_addr=127.0.0.1:{free_port()};gcache.size=16M",
        )
        self.start()

    def status(self, name: str) -> str:
        """What it says of itself, such as ``wsrep_cluster_size``."""
        engine = sqlalchemy.create_engine(
            self.url_of(self.administration), poolclass=NullPool
        )
        with engine.connect() as connection:
            row = connection.execute(
                sqlalchemy.text("SHOW STATUS LIKE :name"), {"name": name}
            ).one()
        return str(row[1])


@contextlib.contextmanager
def cluster() -> Iterator[tuple[Node, Node]]:
    """Two nodes that are in step."""
    with Node() as first, Node() as second:
        port = free_port()
        first.join(port, "gcomm://")
        state = ":".join(
            first.status(f"wsrep_{name}")
            for name in ("local_state_uuid", "last_committed")
        )
        second.join(free_port(), f"gcomm://127.0.0.1:{port}", state)
        yield first, second
