"""Keystone: its keys, its first user, and the catalog of services."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from keystoneauth1 import session as sessions
from keystoneauth1.identity import v3

from tests.functional.openstack import settings


def make_keys(folder: Path) -> None:
    """Put keys for tokens and credentials where ``keystone.conf`` says.

    Source: keystone, "Fernet - Frequently Asked Questions": 0 is the next
    one, the highest number the one that is used.
    """
    for repository in ("tokens", "credentials"):
        (folder / repository).mkdir(mode=0o700)
        for number in ("0", "1"):
            key = base64.urlsafe_b64encode(os.urandom(32))
            path = folder / repository / number
            path.touch(mode=0o600)
            path.write_bytes(key)


def variables(identity: str) -> dict[str, str]:
    """What an operator's shell has from a file that is sourced."""
    return {
        "OS_AUTH_URL": identity,
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": settings.USER,
        "OS_PASSWORD": settings.PASSWORD,
        "OS_PROJECT_NAME": settings.PROJECT,
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": settings.REGION,
        # No network at all is a word that the API knows from there on.
        "OS_COMPUTE_API_VERSION": "2.37",
        "OS_PLACEMENT_API_VERSION": "1.39",
    }


def session(identity: str) -> sessions.Session:
    """A session of the first user's."""
    return sessions.Session(
        auth=v3.Password(
            auth_url=identity,
            username=settings.USER,
            password=settings.PASSWORD,
            project_name=settings.PROJECT,
            user_domain_id="default",
            project_domain_id="default",
        )
    )


def list_services(identity: str, services: Mapping[str, str]) -> None:
    """Put services, by type, with their URLs into the catalog."""
    with_token = session(identity)
    for kind, url in services.items():
        made = _posted(with_token, "service", {"type": kind, "name": kind})
        endpoint = {
            "service_id": made,
            "interface": "public",
            "url": url,
            "region_id": settings.REGION,
        }
        _posted(with_token, "endpoint", endpoint)


def bootstrap(identity: str) -> Iterable[str]:
    """The arguments of ``keystone-manage`` that make the first user."""
    return (
        "bootstrap",
        f"--bootstrap-password={settings.PASSWORD}",
        f"--bootstrap-region-id={settings.REGION}",
        f"--bootstrap-public-url={identity}",
    )


def _posted(
    using: sessions.Session, kind: str, body: Mapping[str, str]
) -> str:
    """The id of what was made."""
    filter_ = {"service_type": "identity", "interface": "public"}
    answer = using.post(
        f"/{kind}s", json={kind: dict(body)}, endpoint_filter=filter_
    )
    found: str = answer.json()[kind]["id"]
    return found
