from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from gpu_passthrough_plugin.nova.notification import AuditDriver

UUID = "6f70656e-7374-4163-8b20-6e6f74696679"
LEGACY = {
    "instance_id": UUID,
    "tenant_id": "p1",
    "user_id": "u1",
    "host": "c1",
    "node": "c1.example.org",
    "instance_type": "gpu-10de-1e87",
    "display_name": "left out\n",
}
VERSIONED = {
    "nova_object.name": "InstanceCreatePayload",
    "nova_object.data": {
        "uuid": UUID,
        "tenant_id": "p1",
        "user_id": "u1",
        "host": "c1",
        "node": "c1.example.org",
        "flavor": {"nova_object.data": {"name": "gpu-10de-1e87"}},
    },
}
SAID = {
    "event": "instance.create.end",
    "at": "2026-11-24 15:00:00.000000",
    "instance": UUID,
    "host": "c1",
    "node": "c1.example.org",
    "flavor": "gpu-10de-1e87",
    "project": "p1",
    "user": "u1",
    "request": "req-1",
}


def driver(marker: Path | None = None, form: str = "") -> AuditDriver:
    """A driver as oslo.messaging makes it, with Nova's configuration."""
    conf = cfg.ConfigOpts()
    if form:
        conf.register_opt(
            cfg.StrOpt("notification_format", default=form), "notifications"
        )
    conf([], default_config_files=[], default_config_dirs=[])
    made = AuditDriver(conf, topics=["notifications"], transport=None)
    if marker is None:
        return made
    conf.set_override("marker", str(marker), group="gpu_passthrough")
    return AuditDriver(conf, topics=["notifications"], transport=None)


def send(
    to: AuditDriver,
    payload: Any = LEGACY,
    event: str = "instance.create.end",
) -> None:
    # Source: nova, compute/utils.py, notify_about_instance_usage.
    is_versioned = isinstance(payload, dict) and "nova_object.name" in payload
    before = "" if is_versioned else "compute."
    message = {
        "message_id": "1",
        "publisher_id": "compute.c1",
        "event_type": before + event,
        "priority": "INFO",
        "payload": payload,
        "timestamp": SAID["at"],
    }
    to.notify({"request_id": "req-1"}, message, "INFO", -1)


def audited(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [
        json.loads(record.getMessage())
        for record in caplog.records
        if record.name == "gpu_passthrough_plugin.audit"
    ]


@pytest.mark.parametrize("payload", [LEGACY, VERSIONED])
def test_a_line_for_each_event(
    payload: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        send(driver(), payload)
        send(driver(), payload, "instance.delete.end")
    first, second = audited(caplog)
    assert first == SAID
    assert second == {**SAID, "event": "instance.delete.end"}
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_other_events_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        send(driver(tmp_path / "marker"), event="instance.create.start")
    assert caplog.records == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("form", "lines"), [("both", 1), ("versioned", 2)])
def test_an_event_in_both_formats_is_one_line(
    form: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        to = driver(form=form)
        send(to, LEGACY)
        send(to, VERSIONED)
    assert len(audited(caplog)) == lines


def test_the_marker_is_touched(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    send(driver(marker))
    assert marker.read_bytes() == b""
    os.utime(marker, (1, 1))
    marker.chmod(0o600)
    send(driver(marker))
    assert time.time() - marker.stat().st_mtime < 60
    assert marker.stat().st_mode & 0o777 == 0o600


def test_a_marker_that_cannot_be_touched_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(pipe)
    for path in (link, pipe, tmp_path / "no" / "marker"):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            send(driver(path))
        assert audited(caplog) == [SAID]
        assert "Error" in caplog.text
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("payload", [None, [], {"flavor": "x"}, {}])
def test_it_never_raises(
    payload: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        send(driver(), payload)
    assert len(caplog.records) == 1
