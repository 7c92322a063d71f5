"""How units do, beside how they did when they were known to be good.

Without the power to write a record, nothing fails: what is not recorded is
not judged.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import health as rules
from gpu_passthrough_plugin.compute.health import HealthLimits
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery import function_health
from gpu_passthrough_plugin.host.health_baselines import HealthBaselines
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function_health import FunctionHealth
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.unit import Unit

if TYPE_CHECKING:
    from gpu_passthrough_plugin.conf import Settings
    from gpu_passthrough_plugin.discovery.tree import Tree
    from gpu_passthrough_plugin.flow.context import HostContext

Healths = Mapping[Address, FunctionHealth]
# Some cards lower and raise the speed of an idle link all the time.
# Source: local-inference-lab/rtx6kpro#88.
_SETTLE_S, _POLL_S = 3.0, 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class HealthChecks:
    """How the units of a host are judged.

    :param baselines: how they did when they were known to be good.
    :param has_canary: whether the agent checks suspect units itself.
    """

    baselines: HealthBaselines
    limits: HealthLimits
    has_canary: bool = False


def configured(folder: str, settings: Settings) -> HealthChecks | None:
    """Return how units are judged; None where ``check_health`` is off.

    :param folder: of the records.
    """
    if not settings.release.check_health:
        return None
    return HealthChecks(
        HealthBaselines(folder),
        HealthLimits(settings.release.correctable_errors),
        settings.agent.canary,
    )


def readings(
    tree: Tree, unit: Unit, *, may_wake: bool = False
) -> dict[Address, FunctionHealth]:
    """Return what sysfs shows of each function of a unit now."""
    return {
        function.address: function_health.health(
            tree, function.address, may_wake=may_wake
        )
        for function in unit.functions
    }


def remember(context: HostContext, unit: Unit) -> None:
    """Record how a unit does now, as it is known to be good."""
    checks = context.health
    boot_id = known(host_facts.boot_id(context.tree))
    if checks is None or not boot_id:
        return
    healths = readings(context.tree, unit, may_wake=True)
    try:
        checks.baselines.write(unit, boot_id, healths)
    except errors.Error as error:
        context.say(f"warning: {error}; unit {unit.key} is not compared")


def baseline(context: HostContext, unit: Unit) -> Healths | None:
    """Return how a unit did; None where this boot has no record of it."""
    boot_id = known(host_facts.boot_id(context.tree)) or ""
    return recorded(context, unit, boot_id)


def recorded(context: HostContext, unit: Unit, boot_id: str) -> Healths | None:
    """Return how a unit did in a boot; None without a record of it."""
    if context.health is None or not boot_id:
        return None
    return context.health.baselines.read(unit, boot_id)


def settled(
    context: HostContext, unit: Unit, before: Healths
) -> dict[Address, FunctionHealth]:
    """Return how a unit does after a reset, once its links are as fast again.

    A link that is slower for longer than a moment is returned as it is.
    """
    deadline = time.monotonic() + min(_SETTLE_S, context.reset_timeout_s)
    while True:
        after = readings(context.tree, unit, may_wake=True)
        if not rules.is_slower(before, after) or time.monotonic() > deadline:
            return after
        time.sleep(_POLL_S)


def held_against(
    recorded: Healths | None, now: Healths, *, counts_from_now: bool = False
) -> dict[Address, FunctionHealth]:
    """Return what a unit is held against: its record, or else how it does.

    :param now: before a reset.
    :param counts_from_now: whether errors from before are left aside.
    """
    before = dict(now)
    for address, health in (recorded or {}).items():
        if address not in now:
            continue
        if not isinstance(health.link.width, int):
            # Its record was written while it was suspended.
            health = health._replace(link=now[address].link)
        elif counts_from_now:
            health = now[address]._replace(link=health.link)
        before[address] = health
    return before


def suspicions(
    context: HostContext,
    before: Healths,
    after: Healths,
    *,
    is_retrained: bool = False,
) -> tuple[str, ...]:
    """Return why a unit is suspect, a line each; empty if it is not."""
    if context.health is None:
        return ()
    return rules.judge(
        before, after, context.health.limits, is_retrained=is_retrained
    )
