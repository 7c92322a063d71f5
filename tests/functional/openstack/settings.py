"""The services' configuration files, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

USER = "admin"
PASSWORD = "s3cret"  # noqa: S105 - of a cloud on loopback that ends soon
PROJECT = "admin"
REGION = "RegionOne"

Options = Mapping[str, object]


class Reached(NamedTuple):
    """Where the shared services are, as one who uses them sees it."""

    identity: str
    placement: str
    image: str
    network: str
    messages: str


def merged(*parts: Mapping[str, Options]) -> dict[str, Options]:
    """All their sections; of an option that several have, the last one."""
    sections: dict[str, Options] = {}
    for part in parts:
        for name, options in part.items():
            sections[name] = {**sections.get(name, {}), **options}
    return sections


def text(sections: Mapping[str, Options]) -> str:
    """What oslo.config reads as these sections."""
    return "\n".join(_lines(sections))


def keystone(connection: str, folder: object) -> str:
    """``keystone.conf``; its keys are in ``folder``."""
    return text(
        {
            "database": {"connection": connection},
            "token": {"provider": "fernet", "expiration": 86400},
            "fernet_tokens": {"key_repository": f"{folder}/tokens"},
            "fernet_receipts": {"key_repository": f"{folder}/tokens"},
            "credential": {"key_repository": f"{folder}/credentials"},
            # Hashing a password is meant to take long; not here.  The
            # length is that of what hashes it, and spares warnings.
            "identity": {"password_hash_rounds": 4, "max_password_length": 72},
        }
    )


def placement(connection: str, identity: str) -> str:
    """``placement.conf``; it makes its tables itself."""
    return text(
        {
            "placement_database": {
                "connection": connection,
                "sync_on_startup": "true",
            },
            "api": {"auth_strategy": "keystone"},
            "keystone_authtoken": _token(identity),
        }
    )


def nova(host: str, folder: object, reached: Reached) -> dict[str, Options]:
    """What every service of Nova's is told.

    :param folder: what it keeps is there.
    """
    account = _account(reached.identity)
    return {
        "DEFAULT": {
            "host": host,
            "my_ip": "127.0.0.1",
            "debug": "true",
            "state_path": folder,
            "transport_url": reached.messages,
        },
        "oslo_concurrency": {"lock_path": f"{folder}/locks"},
        "oslo_messaging_notifications": {"driver": "noop"},
        "placement": account | {"endpoint_override": reached.placement},
        "glance": {"endpoint_override": reached.image},
        "neutron": account | {"endpoint_override": reached.network},
        "vnc": {"enabled": "false"},
    }


def control(
    main: str, api: str, base: Mapping[str, Options], identity: str
) -> str:
    """``nova.conf`` of API, conductor and scheduler.

    :param main: SQLAlchemy's URL of the cell's database.
    :param api: that of the API's.
    """
    return text(
        {
            **base,
            "database": {"connection": main},
            "api_database": {"connection": api},
            "keystone_authtoken": _token(identity),
            "conductor": {"workers": 1},
            "scheduler": {"workers": 1},
        }
    )


def _account(identity: str) -> dict[str, object]:
    """Who services are to each other: the same as the operator."""
    return {
        "auth_type": "password",
        "auth_url": identity,
        "username": USER,
        "password": PASSWORD,
        "project_name": PROJECT,
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": REGION,
    }


def _token(identity: str) -> dict[str, object]:
    more = {"www_authenticate_uri": identity, "interface": "public"}
    return _account(identity) | more


def _lines(sections: Mapping[str, Options]) -> Iterable[str]:
    for name, options in sections.items():
        yield f"[{name}]"
        yield from (f"{key} = {value}" for key, value in options.items())
    yield ""
