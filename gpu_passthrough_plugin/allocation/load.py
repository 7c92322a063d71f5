"""Finding a ledger's driver by its name."""

from __future__ import annotations

import importlib.metadata
import logging

from stevedore import driver, exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import Driver, LedgerSettings

NAMESPACE = "gpu_passthrough_plugin.allocation"


def load(name: str, settings: LedgerSettings) -> Driver:
    """The driver of that name, made with ``settings``.

    :raises Invalid: when there is none of that name, or it does not load
        or is no driver; the message names those there are.
    """
    # It warns of a missing driver, which is raised here as well.
    logging.getLogger("stevedore.named").setLevel(logging.ERROR)
    try:
        found: object = driver.DriverManager(NAMESPACE, name).driver
    except exception.NoMatches as error:
        raise errors.Invalid(
            f"[allocation] driver {name!r} is not installed; {_available()}"
        ) from error
    # What a third party's module raises when it is imported is its own.
    except Exception as error:
        raise errors.Invalid(
            f"[allocation] driver {name!r} does not load ({error});"
            f" {_available()}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Driver)):
        raise errors.Invalid(
            f"[allocation] driver {name!r} is no ledger's driver but"
            f" {found!r}; {_available()}"
        )
    return found(settings)


def _available() -> str:
    points = importlib.metadata.entry_points(group=NAMESPACE)
    return f"available: {', '.join(sorted(points.names)) or 'none'}"
