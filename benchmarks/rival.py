"""OpenStack Placement in this process, and a fleet in it.

Its WSGI application is loaded once and called without HTTP and without a
client.  ``placement.direct`` loads it anew for each request, which would
be a few milliseconds in our favour.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
import webob
from oslo_config import cfg
from placement import conf as options
from placement import db_api, deploy
from placement.db.sqlalchemy import models

CLASS = "CUSTOM_PCI_10DE_1430"
UNITS = 8
_ROWS = 5000
_RETRIES = 20
_HEADERS = {
    "x-auth-token": "admin",
    "content-type": "application/json",
    "openstack-api-version": "placement latest",
}
# Whoever it is for.
_OWNER = str(uuid.UUID(int=1))


class Placement:
    """One Placement; its database is the process's one and only.

    :param most: how many candidates it makes at all; all by default.
    :param is_shared: whether clients are told candidates in any order, so
        that they do not all take the first.
    """

    def __init__(
        self, connection: str, *, most: int = -1, is_shared: bool = False
    ) -> None:
        conf = cfg.ConfigOpts()
        options.register_opts(conf)
        database = "placement_database"
        conf.set_override("connection", connection, group=database)
        conf.set_override("sync_on_startup", True, group=database)
        conf.set_override("auth_strategy", "noauth2", group="api")
        conf.set_override("max_allocation_candidates", most, group="placement")
        conf.set_override(
            "randomize_allocation_candidates", is_shared, group="placement"
        )
        conf([], default_config_files=[])
        # It tells of each conflict, which is no news here.
        logging.getLogger("placement").setLevel(logging.ERROR)
        self._app = deploy.loadapp(conf)
        self.retries = 0

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        is_tried: bool = False,
    ) -> Any:
        """What it answers; None for a conflict, where that may be."""
        asked = webob.Request.blank(
            path,
            method=method,
            headers=_HEADERS,
            body=b"" if body is None else json.dumps(body).encode(),
        )
        answer = asked.get_response(self._app)
        if is_tried and answer.status_code == 409:
            return None
        if answer.status_code >= 300:
            raise RuntimeError(f"{method} {path}: {answer.text}")
        return answer.json if answer.body else {}

    def claim(self, units: int = 1) -> str:
        """The consumer that holds so many units of one host then."""
        consumer = str(uuid.uuid4())
        for _ in range(_RETRIES):
            found = self.ask("GET", f"/allocation_candidates?{_query(units)}")
            best = found["allocation_requests"][0]
            if len(best["allocations"]) != units:
                raise RuntimeError("these are not as many units")
            body = {
                "allocations": best["allocations"],
                "project_id": _OWNER,
                "user_id": _OWNER,
                "consumer_generation": None,
                "consumer_type": "INSTANCE",
            }
            done = self.ask(
                "PUT", f"/allocations/{consumer}", body, is_tried=True
            )
            if done is not None:
                return consumer
            self.retries += 1
        raise RuntimeError("others were faster each time")

    def free(self, consumer: str) -> None:
        self.ask("DELETE", f"/allocations/{consumer}")

    def prepare(self) -> None:
        """Have the resource class of our units."""
        self.ask("PUT", f"/resource_classes/{CLASS}")

    def register(self, host: str) -> list[str]:
        """A host with its units, as its agent makes them; their names."""
        root = self.ask("POST", "/resource_providers", {"name": host})["uuid"]
        names = [root]
        for number in range(UNITS):
            child = self.ask(
                "POST",
                "/resource_providers",
                {
                    "name": f"{host}_{number}",
                    "parent_provider_uuid": root,
                },
            )
            names.append(child["uuid"])
            self.ask(
                "PUT",
                f"/resource_providers/{child['uuid']}/inventories",
                {
                    "resource_provider_generation": child["generation"],
                    "inventories": {CLASS: {"total": 1, "max_unit": 1}},
                },
            )
        return names

    def remove(self, names: list[str]) -> None:
        """Take a host away again."""
        for name in reversed(names):
            self.ask("DELETE", f"/resource_providers/{name}")

    def fill(self, hosts: int) -> None:
        """The same rows for many hosts, straight into its tables."""
        self.prepare()
        providers = models.ResourceProvider.__table__
        inventories = models.Inventory.__table__
        classes = models.ResourceClass.__table__
        with db_api.get_placement_engine().begin() as connection:
            class_id = connection.scalar(
                sa.select(classes.c.id).where(classes.c.name == CLASS)
            )
            _add(connection, providers, _providers(hosts))
            _add(connection, inventories, _inventories(hosts, class_id))


def _query(units: int) -> str:
    if units == 1:
        return f"resources={CLASS}:1&limit=10"
    groups = [f"resources{n}={CLASS}:1" for n in range(1, units + 1)]
    # Each provider has one, so that no two groups share it either way;
    # to have them isolated takes twice as long.
    return "&".join([*groups, "group_policy=none", "limit=10"])


def _providers(hosts: int) -> Iterator[dict[str, object]]:
    for host in range(hosts):
        root = host * (UNITS + 1) + 1
        for number in range(UNITS + 1):
            yield {
                "id": root + number,
                "uuid": str(uuid.uuid4()),
                "name": f"host-{host:05}_{number}",
                "generation": 1,
                "root_provider_id": root,
                "parent_provider_id": root if number else None,
            }


def _inventories(hosts: int, class_id: int) -> Iterator[dict[str, object]]:
    for host in range(hosts):
        for number in range(1, UNITS + 1):
            yield {
                "resource_provider_id": host * (UNITS + 1) + 1 + number,
                "resource_class_id": class_id,
                "total": 1,
                "reserved": 0,
                "min_unit": 1,
                "max_unit": 1,
                "step_size": 1,
                "allocation_ratio": 1.0,
            }


def _add(
    connection: sa.Connection,
    table: sa.Table,
    rows: Iterator[dict[str, object]],
) -> None:
    page: list[dict[str, object]] = []
    for row in rows:
        page.append(row)
        if len(page) == _ROWS:
            connection.execute(table.insert(), page)
            page = []
    if page:
        connection.execute(table.insert(), page)
