"""The services that are there once: started, and told of what they run on."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.functional.openstack import identity, programs, settings, venv
from tests.functional.openstack.rabbitmq import RabbitMQ
from tests.functional.openstack.services import Api, Service, Worker
from tests.functional.openstack.settings import Reached
from tests.functional.openstack.stand_ins import Glance, Neutron
from tests.functional.servers.databases import MariaDB
from tests.functional.servers.loopback import serving

_PASTE = "api-paste.ini"
_CONFIGURATION = "nova.conf"
_GENERATED = "nova.conf.d"


class Control:
    """Keystone, Placement and Nova's own, on MariaDB and RabbitMQ.

    :param folder: an empty one, where all of it is.
    :param image: the raw disk that Glance has.
    """

    def __init__(self, folder: Path, image: bytes) -> None:
        self._folder = folder
        self._database = MariaDB()
        self._messages = RabbitMQ()
        self._glance = Glance(image)
        self._neutron = Neutron()
        self._keystone = _api("keystone", "keystone.wsgi.api", folder)
        self._placement = _api("placement", "placement.wsgi.api", folder)
        given = ("--config-dir", str(folder / _GENERATED))
        self._nova_api = _api(
            "nova", "nova.wsgi.osapi_compute", folder, *given
        )
        told = ("--config-file", str(folder / _CONFIGURATION), *given)
        self._workers = tuple(
            Worker(name, (venv.program(name), *told), {})
            for name in ("nova-conductor", "nova-scheduler")
        )

    @property
    def services(self) -> tuple[Service, ...]:
        """Those that may have something to tell."""
        return (self._keystone, self._placement, *self._nova)

    def reached(self, place: str = "127.0.0.1") -> Reached:
        """Where all is for those who reach us at an address."""
        return Reached(
            f"{self._keystone.url_at(place)}/v3",
            self._placement.url_at(place),
            self._glance.url_at(place),
            self._neutron.url_at(place),
            self._messages.url(place),
        )

    def start(self, stack: contextlib.ExitStack) -> None:
        """Returns when all but Nova answers, which is to be configured.

        :param stack: ends it.
        """
        for server in (self._database, self._messages, *self.services):
            stack.callback(server.close)
        stack.enter_context(serving(self._glance))
        stack.enter_context(serving(self._neutron))
        programs.together(self._database.start, self._messages.start)
        programs.together(
            self._start_keystone, self._start_placement, self._make_cell
        )

    def configure(self, generated: Mapping[str, str]) -> None:
        """Returns when Nova answers, with these files by name.

        :param generated: what an operator has beside ``nova.conf``.
        """
        for service in self._nova:
            service.kill()
        replace(self._folder / _GENERATED, generated)
        programs.together(*(service.start for service in self._nova))

    def manage(self, *argv: str) -> str:
        """What ``nova-manage`` wrote."""
        given = ("--config-file", str(self._folder / _CONFIGURATION))
        return self._output("nova-manage", *given, *argv)

    @property
    def _nova(self) -> tuple[Service, ...]:
        return (self._nova_api, *self._workers)

    def _start_keystone(self) -> None:
        path = self._folder / "keystone.conf"
        database = self._database.new_database()
        path.write_text(settings.keystone(database, self._folder))
        identity.make_keys(self._folder)
        url = self.reached().identity
        for argv in (("db_sync",), identity.bootstrap(url)):
            self._output("keystone-manage", "--config-file", str(path), *argv)
        self._keystone.start()
        services = {
            "compute": f"{self._nova_api.url}/v2.1",
            "placement": self._placement.url,
            "image": self._glance.url,
            "network": self._neutron.url,
        }
        identity.list_services(url, services)

    def _start_placement(self) -> None:
        database = self._database.new_database()
        text = settings.placement(database, self.reached().identity)
        (self._folder / "placement.conf").write_text(text)
        self._placement.start()

    def _make_cell(self) -> None:
        """Makes Nova's tables, and the one cell that there is."""
        main, api, empty = (self._database.new_database() for _ in range(3))
        shutil.copy(venv.ensure() / "etc/nova" / _PASTE, self._folder)
        base = settings.nova("control", self._folder, self.reached())
        text = settings.control(main, api, base, self.reached().identity)
        (self._folder / _CONFIGURATION).write_text(text)
        only = self._folder / "cell0.conf"
        only.write_text(settings.text({"database": {"connection": empty}}))
        programs.together(
            lambda: self._map_cells(empty),
            lambda: self.manage("db", "sync", "--local_cell"),
            lambda: self.manage(
                *("--config-file", str(only), "db", "sync", "--local_cell")
            ),
        )

    def _map_cells(self, empty: str) -> None:
        """Makes the tables of the API's, and says there where cells are.

        :param empty: the database of those that no host would take.
        """
        self.manage("api_db", "sync")
        self.manage("cell_v2", "map_cell0", "--database_connection", empty)
        self.manage("cell_v2", "create_cell", "--name", "cell1")

    def _output(self, *argv: str) -> str:
        return programs.output(argv, {}, self._folder)


def replace(folder: Path, files: Mapping[str, str]) -> None:
    """Make these the only files in a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def _api(name: str, application: str, folder: Path, *given: str) -> Api:
    """A service whose configuration is in ``folder``."""
    variables = {f"OS_{name.upper()}_CONFIG_DIR": str(folder)}
    return Api(name, application, variables, given)
