"""Find the driver that wipes units, and keep it from blocking the host."""

from __future__ import annotations

import importlib.metadata
import logging

from stevedore import driver, exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import privileges
from gpu_passthrough_plugin.host.function_calls import FunctionCalls
from gpu_passthrough_plugin.model.sanitising import (
    SanitiseDriver,
    SanitiseSettings,
    SanitiseTarget,
)

COMMAND = "command"
_NAMESPACE = "gpu_passthrough_plugin.sanitise"


class _InChild(SanitiseDriver):
    """Another driver, in a child process that is bounded in time."""

    def __init__(
        self,
        settings: SanitiseSettings,
        wrapped: SanitiseDriver,
        calls: FunctionCalls,
    ) -> None:
        self._wrapped, self._calls = wrapped, calls

    @property
    def title(self) -> str:
        return self._wrapped.title

    def sanitise(self, target: SanitiseTarget) -> None:
        def work() -> None:
            try:
                self._wrapped.sanitise(target)
            except errors.Error:
                raise
            # A third party's driver may raise anything.
            except Exception as error:
                raise errors.Unavailable(
                    f"not sanitised: {self.title} failed:"
                    f" {type(error).__name__}: {error}"
                ) from error

        self._calls.run(
            f"sanitising {target.addresses[0]} by {self.title}",
            target.addresses,
            work,
            keeps=privileges.UNITS,
        )


def load(
    name: str, settings: SanitiseSettings, folder: str
) -> SanitiseDriver | None:
    """Return the driver of a configuration; None where it has none.

    :param name: of the driver; "" for ``command`` where one is set.
    :param folder: where child processes of functions are noted.
    :raises Invalid: when the driver is not installed, does not load, or does
        not take its settings.
    """
    if not name and not settings.command:
        return None
    name = name or COMMAND
    # It warns of a missing driver, which is raised here as well.
    logging.getLogger("stevedore.named").setLevel(logging.ERROR)
    try:
        loaded: object = driver.DriverManager(_NAMESPACE, name).driver
        if not isinstance(loaded, type) or not issubclass(
            loaded, SanitiseDriver
        ):
            raise _invalid(name, f"is not a driver class but {loaded!r}")
        made = loaded(settings)
    except errors.Error:
        raise
    except exception.NoMatches as error:
        raise _invalid(name, "is not installed") from error
    # A third party's module may raise anything when it is imported.
    except Exception as error:
        raise _invalid(name, f"does not load ({error})") from error
    if not made.runs_in_child:
        return made
    calls = FunctionCalls(folder, settings.timeout_s)
    return _InChild(settings, made, calls)


def _invalid(name: str, fault: str) -> errors.Invalid:
    points = importlib.metadata.entry_points(group=_NAMESPACE)
    available = ", ".join(sorted({point.name for point in points})) or "none"
    return errors.Invalid(
        f"[release] sanitise_driver {name!r} {fault}; available: {available}"
    )
