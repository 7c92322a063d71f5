"""Find a ledger's driver by its name."""

from __future__ import annotations

import importlib.metadata
import logging

from stevedore import driver, exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)

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
    return loaded(settings)


def _available() -> str:
    points = importlib.metadata.entry_points(group=NAMESPACE)
    return f"available: {', '.join(sorted(points.names)) or 'none'}"
