"""What the agents of other hosts are asked for, in the database."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.allocation.sql import schema, statements
from gpu_passthrough_plugin.model.event import Actor
from gpu_passthrough_plugin.model.host_task import (
    KEPT_S,
    MAX_OPEN,
    OPEN,
    HostTask,
    TaskKind,
    TaskListing,
    TaskState,
)

_task, _host = schema.host_task, schema.host
_MAX_DETAIL = 1024
_OPEN = [state.value for state in OPEN]
_COLUMNS = tuple(column for column in _task.c if column.name != "host_id")

_READ: sa.Select[Any] = (
    sa.select(*_COLUMNS, _host.c.name.label("host"))
    .join_from(_task, _host, _task.c.host_id == _host.c.id)
    .order_by(_task.c.asked_us, _task.c.uuid)
)
_OF_HOST = _host.c.name == sa.bindparam("host")
_IN_STATES = _task.c.state.in_(sa.bindparam("states", expanding=True))
_ADD = _task.insert()
_CHANGE = (
    _task.update()
    .where(
        _task.c.uuid == sa.bindparam("task"),
        _task.c.state == sa.bindparam("before"),
    )
    .values(
        state=sa.bindparam("after"),
        detail=sa.bindparam("why"),
        changed_us=sa.bindparam("now_us"),
    )
)
_REMOVE_OLD = _task.delete().where(
    _task.c.state.not_in(_OPEN), _task.c.changed_us < sa.bindparam("oldest_us")
)


def add(connection: sa.Connection, task: HostTask) -> HostTask:
    """Add a task; return it, or the same one if that is open already.

    Those that ended long ago are removed.

    :raises Refused: when the ledger has no such host, too many tasks wait
        for it, or the database's role may not ask it.
    """
    bound = {"host": task.host}
    if connection.execute(statements.HOST, bound).first() is None:
        raise refusals.host_unknown(task.host)
    # Two commands that ask for the same at once ask for one task.
    host = connection.execute(statements.LOCK_HOST, bound).first()
    if host is None:
        # PostgreSQL locks no row for a role that may not change it.
        raise errors.Refused(
            f"this host's role in the ledger asks no other host; run"
            f" 'gpu-passthrough {task.kind}' on {task.host}, or on a control"
            " node"
        )
    waiting = read(connection, task.host, OPEN).tasks
    for other in waiting:
        if (other.kind, other.subject) == (task.kind, task.subject):
            return other
    if len(waiting) >= MAX_OPEN:
        raise errors.Refused(
            f"{len(waiting)} tasks wait for the agent of host {task.host}"
            f" already; expected fewer than {MAX_OPEN}: see whether it runs"
        )
    connection.execute(
        _REMOVE_OLD, {"oldest_us": task.asked_us - KEPT_S * 1_000_000}
    )
    connection.execute(
        _ADD,
        {
            "uuid": task.uuid,
            "host_id": host.id,
            "kind": task.kind.value,
            "subject": task.subject,
            "state": task.state.value,
            "detail": task.detail,
            "asked_us": task.asked_us,
            "until_us": task.until_us,
            "changed_us": task.changed_us,
            "command_host": task.asked_by.host,
            "user_name": task.asked_by.user,
            "uid": task.asked_by.uid,
        },
    )
    return task


def read(
    connection: sa.Connection,
    host: str | None,
    states: Collection[TaskState] = (),
    uuid: str | None = None,
) -> TaskListing:
    """Return the tasks of a host, or of all; in these states, or in any.

    :param uuid: only this one; None for any.
    """
    statement = _READ
    if host is not None:
        statement = statement.where(_OF_HOST)
    if states:
        statement = statement.where(_IN_STATES)
    if uuid is not None:
        statement = statement.where(_task.c.uuid == uuid)
    bound = {"host": host, "states": [state.value for state in states]}
    tasks, malformed = [], []
    for row in connection.execute(statement, bound):
        try:
            tasks.append(_task_of(row))
        except ValueError as error:
            malformed.append(f"task {row.uuid!r}: {error}")
    return TaskListing(tuple(tasks), tuple(malformed))


def _task_of(row: sa.Row[Any]) -> HostTask:
    """Return the task of a row.

    :raises ValueError: when it is malformed.
    """
    kind = TaskKind(row.kind)
    return HostTask(
        str(row.uuid),
        str(row.host),
        kind,
        str(row.subject),
        Actor(str(kind), str(row.command_host), str(row.user_name), row.uid),
        int(row.asked_us),
        int(row.until_us),
        int(row.changed_us),
        TaskState(row.state),
        str(row.detail),
    )


def change(
    connection: sa.Connection, task: HostTask, state: TaskState, detail: str
) -> HostTask:
    """Move a task on; return it as it is then.

    To repeat it changes nothing.

    :raises Conflict: when it is in another state than ``task``.
    """
    now_us = time.time_ns() // 1000
    detail = detail[:_MAX_DETAIL]
    bound = {
        "task": task.uuid,
        "before": task.state.value,
        "after": state.value,
        "why": detail,
        "now_us": now_us,
    }
    if connection.execute(_CHANGE, bound).rowcount != 1:
        query = sa.select(_task.c.state).where(_task.c.uuid == task.uuid)
        now = connection.execute(query).scalar()
        # A commit that was not answered may have written it.
        if now != state.value:
            raise errors.Conflict(
                f"task {task.uuid} is {now or 'gone'}, expected {task.state}"
            )
    return dataclasses.replace(
        task, state=state, detail=detail, changed_us=now_us
    )
