"""Find a ledger's driver by its name."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections.abc import Callable
from typing import Any

from stevedore import driver, exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.events import HostEvents
from gpu_passthrough_plugin.model.allocation import Allocation

_LOG = logging.getLogger(__name__)
NAMESPACE = "gpu_passthrough_plugin.allocation"


def load(name: str, settings: LedgerSettings) -> LedgerDriver:
    """Return the driver of that name, configured with ``settings``.

    :raises Invalid: when it is not installed, fails to load or is not a
        ledger driver; the message names those that are installed.
    """
    # Stevedore would log what is raised here.
    logging.getLogger("stevedore.named").setLevel(logging.ERROR)
    try:
        loaded: object = driver.DriverManager(NAMESPACE, name).driver
    except exception.NoMatches as error:
        raise errors.Invalid(
            f"[allocation] driver {name!r} is not installed; {_available()}"
        ) from error
    # A third party's module may raise anything when it is imported.
    except Exception as error:
        raise errors.Invalid(
            f"[allocation] driver {name!r} fails to load ({error});"
            f" {_available()}"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, LedgerDriver)):
        raise errors.Invalid(
            f"[allocation] driver {name!r} is not a ledger driver but"
            f" {loaded!r}; {_available()}"
        )
    ledger = loaded(settings)
    if settings.event_log is not None and not ledger.keeps_events:
        HostEvents(ledger, settings, settings.event_log).attach()
    return _logged(ledger)


def _describe_allocation(allocation: Allocation) -> str:
    keys = ", ".join(str(record.unit.key) for record in allocation.units)
    return f"{allocation.consumer} holds {keys}"


# What changes the ledger: how its result is logged.
_CHANGES: dict[str, Callable[[Any], str]] = {
    "sync": lambda version: f"schema is at {version}",
    "publish": lambda report: (
        f"published at generation {report.generation}:"
        f" {len(report.added)} added, {len(report.changed)} changed,"
        f" {len(report.removed)} removed, {len(report.missing)} missing"
    ),
    "cordon": lambda host: f"cordoned {host.name}: {host.reason}",
    "uncordon": lambda host: f"uncordoned {host.name}",
    "claim": _describe_allocation,
    "claim_units": _describe_allocation,
    "add_task": lambda task: f"asked for {task.title}: task {task.uuid}",
    "change_task": lambda task: (
        f"task {task.uuid} is {task.state}"
        + (f": {task.detail}" if task.detail else "")
    ),
    "move": lambda record: (
        f"{record.unit.key} is {record.state}"
        + (f" for {record.consumer}" if record.consumer else "")
        + (f": {record.reason}" if record.reason else "")
    ),
}


def _logged(ledger: LedgerDriver) -> LedgerDriver:
    """Return the ledger; what it changes is logged from now on."""
    for name, describe in _CHANGES.items():
        act = getattr(ledger, name)
        setattr(ledger, name, _logging(act, describe))
    return ledger


def _logging(
    act: Callable[..., Any], describe: Callable[[Any], str]
) -> Callable[..., Any]:
    @functools.wraps(act)
    def logged(*args: Any, **kwargs: Any) -> Any:
        result = act(*args, **kwargs)
        _LOG.info("ledger: %s", describe(result))
        return result

    return logged


def _available() -> str:
    points = importlib.metadata.entry_points(group=NAMESPACE)
    return f"available: {', '.join(sorted(points.names)) or 'none'}"
