"""What every campaign has: a folder for its histories, and locks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.servers.backends import Etcd, Redis

pytest_plugins = ("tests.functional.servers.fixtures",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "histories"
    found.mkdir()
    return found


@pytest.fixture
def locks(fresh_etcd: Etcd, fresh_redis: Redis) -> tuple[Etcd, Redis]:
    return fresh_etcd, fresh_redis
