"""Nova's notifications as an audit trail, and as a trigger to reconcile.

``[oslo_messaging_notifications] driver = gpu_passthrough`` in nova-compute's
configuration, in addition to other drivers, logs a line of JSON for each
instance that was built or deleted, in the service's own log.  With
``[gpu_passthrough] marker`` it also touches that file, which begins a pass of
the agent, or starts a systemd path unit.  It guards nothing: an event comes
after the fact, or never.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

# A logger of its own, so that an operator can send it elsewhere.
AUDIT = logging.getLogger("gpu_passthrough_plugin.audit")
LOG = logging.getLogger(__name__)

GROUP = "gpu_passthrough"
OPTS = (
    cfg.StrOpt(
        "marker",
        help="A file to touch when an instance was built or deleted. Its"
        " directory has to exist and be writable by nova-compute.",
    ),
)
# The key that holds a versioned notification's own fields.
VERSIONED = "nova_object.data"
EVENTS = frozenset({"instance.create.end", "instance.delete.end"})
# Prefix of the same names in unversioned notifications.  Source: nova,
# compute/utils.py, notify_about_instance_usage.
_UNVERSIONED = "compute."


class AuditDriver:
    """A driver of ``oslo.messaging.notify.drivers``.

    Handles Nova's unversioned and versioned notifications.
    """

    def __init__(self, conf: Any, topics: Any, transport: Any) -> None:
        conf.register_opts(OPTS, group=GROUP)
        self._marker: str | None = conf[GROUP].marker
        # Each event then comes in both formats.
        self._is_doubled = (
            "notifications" in conf
            and conf.notifications.notification_format == "both"
        )

    def notify(
        self, ctxt: Any, message: Mapping[str, Any], priority: str, retry: Any
    ) -> None:
        """Log the event and touch the file; never raise or wait."""
        try:
            if event(message) not in EVENTS:
                return
            if self._is_doubled and VERSIONED in message["payload"]:
                return
            AUDIT.info("%s", line(ctxt, message))
            if self._marker:
                touch(self._marker)
        # A failed record must not fail the instance's own operation.
        except Exception:
            LOG.exception("a notification could not be recorded")


def event(message: Mapping[str, Any]) -> str:
    """Return the event's name, as versioned notifications spell it."""
    name: str = message["event_type"]
    return name.removeprefix(_UNVERSIONED)


def line(ctxt: Any, message: Mapping[str, Any]) -> str:
    """Return the event as one line of JSON; null for what is not given."""
    payload = message["payload"]
    data = payload.get(VERSIONED, payload)
    flavor = data.get("flavor", {}).get(VERSIONED, {})
    record = {
        "event": event(message),
        "at": message.get("timestamp"),
        "instance": data.get("uuid", data.get("instance_id")),
        "host": data.get("host"),
        "node": data.get("node"),
        "flavor": flavor.get("name", data.get("instance_type")),
        "project": data.get("tenant_id"),
        "user": data.get("user_id"),
        "request": ctxt.get("request_id"),
    }
    return json.dumps(record)


def touch(path: str) -> None:
    """Set the file's time to now; create it if it is missing.

    Anything but a regular file is neither opened nor waited for.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)
