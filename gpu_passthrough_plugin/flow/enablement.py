"""``host enable`` and ``host disable``: plan, apply and undo changes.

The host and its boot journal are read once, and the plan is a function of
both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import modules
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.enablement import (
    foreign_edits,
    kernel_modules,
    load,
    targets,
)
from gpu_passthrough_plugin.enablement import plan as planning
from gpu_passthrough_plugin.enablement.load import DriverNames
from gpu_passthrough_plugin.enablement.plan import DesiredState, HostPlan
from gpu_passthrough_plugin.enablement.targets import Selection
from gpu_passthrough_plugin.enablement.undo import undo
from gpu_passthrough_plugin.flow import boot_state, host_snapshot
from gpu_passthrough_plugin.flow import selection as selecting
from gpu_passthrough_plugin.flow.boot_state import BootState
from gpu_passthrough_plugin.flow.host_snapshot import HostSnapshot, Scope
from gpu_passthrough_plugin.flow.selection import SelectionPlan
from gpu_passthrough_plugin.formats import modprobe
from gpu_passthrough_plugin.host.boot.apply import Applier
from gpu_passthrough_plugin.host.boot.revert import Reverter
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.isolation.selection import HostSelection, Source
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.change import (
    Build,
    Change,
    Rebuild,
    UndoStep,
)
from gpu_passthrough_plugin.model.change_history import ForeignEdit, History
from gpu_passthrough_plugin.model.function import VirtualFunction
from gpu_passthrough_plugin.model.reading import known

if TYPE_CHECKING:
    from gpu_passthrough_plugin.conf.enablement import Enablement as Settings

T = TypeVar("T")
Show = Callable[[Iterable[str], Iterable[Change]], None]


@dataclasses.dataclass(frozen=True, slots=True)
class BootContext:
    """One host, and what changing how it boots needs.

    :param settings: ``[enablement]``.
    :param applier: makes changes; None for a host that is only read.
    :param reverter: undoes changes; None for a host that is only read.
    :param lock: taken around every change.
    :param say: called with a line for each step that is done.
    :param selection: returns the host's selection, read now; None for that
        of ``policy``.
    """

    tree: Tree
    policy: Policy
    settings: Settings
    applier: Applier | None
    reverter: Reverter | None
    lock: Callable[[], AbstractContextManager[None]]
    say: Callable[[str], None]
    selection: Callable[[], HostSelection] | None = None

    def present_selection(self) -> HostSelection:
        if self.selection is None:
            return HostSelection(self.policy.select, Source.DEFAULT)
        return self.selection()


@dataclasses.dataclass(frozen=True, slots=True)
class EnableOptions:
    """What one call asks for besides the configuration.

    :param select: selectors to be added to the host's selection; each has
        to match a group that can be assigned.
    :param binding: a binding driver that replaces the configured one.
    :param blacklist: kernel modules besides the configured ones.
    :param deselect: selectors to be removed from the host's selection.
    :param is_only: whether ``select`` replaces the host's selection.
    """

    select: tuple[str, ...] = ()
    binding: str | None = None
    blacklist: tuple[str, ...] = ()
    deselect: tuple[str, ...] = ()
    is_only: bool = False


class JournalState(NamedTuple):
    """What the journal of changes says, and the files in it as they are.

    :param history: None where nothing was changed.
    :param built: by image, the digest of the inputs that it was last built
        with, where it has not been written since.
    :param edits: what others did to the files since.
    """

    history: History | None = None
    built: Mapping[str, str] = MappingProxyType({})
    edits: tuple[ForeignEdit, ...] = ()


class EnablePlan(NamedTuple):
    """What ``enable`` would do.

    :param notes: lines for the operator, before anything is done.
    """

    plan: HostPlan
    notes: tuple[str, ...]
    journal: JournalState

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.plan.changes

    @property
    def is_done(self) -> bool:
        """Whether this plan was carried out, and nothing changed since."""
        history = self.journal.history
        return (
            history is not None
            and history.is_finished
            and history.enablement == self.plan.enablement
            and not self.plan.has_changes
            and not self.journal.edits
        )


def plan_enable(context: BootContext, options: EnableOptions) -> EnablePlan:
    """Return what ``enable`` would do now.

    :raises Faults: with each option that is not valid.
    :raises Refused: when the host needs what is selected, a driver cannot do
        it on this host, or no file shows how the host boots.
    """
    _require_valid(options)
    journal = _journal(context.applier)
    selection = selecting.plan(
        context.tree,
        context.present_selection(),
        journal.history,
        options.select,
        options.deselect,
        is_only=options.is_only,
    )
    policy = context.policy._replace(select=selection.selectors)
    snapshot = host_snapshot.read(context.tree, policy, Scope.ALL)
    boot = boot_state.read(context.tree, snapshot.facts)
    if not (boot.installation.files or boot.installation.kernels):
        raise errors.Refused(
            f"{context.tree} has no boot files (kernels, configuration of the"
            " boot loader and the initramfs) to plan from; run this on the"
            " host, or on a recording that 'gpu-passthrough host record' made"
            " there"
        )
    planned = _plan(
        snapshot,
        boot,
        journal,
        context.settings,
        options,
        selection,
    )
    notes = _unknown_modules(context, snapshot, options)
    return planned._replace(notes=(*notes, *planned.notes))


def _unknown_modules(
    context: BootContext, snapshot: HostSnapshot, options: EnableOptions
) -> Iterator[str]:
    """Yield a line for each module to be blacklisted that is not there."""
    release = snapshot.facts.kernel_release
    drivers = {known(m.function.driver) for m in snapshot.members()}
    in_use = {modprobe.normalise(driver) for driver in drivers if driver}
    for name in dict.fromkeys(
        (*context.settings.blacklist, *options.blacklist)
    ):
        module = modprobe.normalise(name)
        if module in in_use:
            continue
        if modules.has(context.tree, release, module) is False:
            yield (
                f"warning: blacklist {name}: the running kernel has no module"
                " of this name"
            )


def _require_valid(options: EnableOptions) -> None:
    """Raise if an option is not valid on any host.

    :raises Faults: with each that is not.
    """
    faults: list[str] = []

    def check(
        option: str, parse: Callable[[str], object], values: Iterable[str]
    ) -> None:
        for value in values:
            try:
                parse(value)
            except errors.Invalid as error:
                faults.append(f"{option}{error}")

    check("--select: ", selector.parse, options.select)
    check("--deselect: ", selector.parse, options.deselect)
    if options.is_only and (options.deselect or not options.select):
        faults.append(
            "--only replaces the selection by that of --select; expected"
            " --select with it, and no --deselect"
        )
    bindings = load.names("binding")
    if options.binding is not None and options.binding not in bindings:
        faults.append(
            f"--binding {options.binding!r} is not valid; expected one of:"
            f" {', '.join(bindings)}"
        )
    check(
        "--",  # blacklist, as the error names it
        lambda name: kernel_modules.check_names([name]),
        options.blacklist,
    )
    if faults:
        raise errors.Faults(tuple(faults))


def _plan(
    snapshot: HostSnapshot,
    boot: BootState,
    journal: JournalState,
    settings: Settings,
    options: EnableOptions,
    selected: SelectionPlan,
) -> EnablePlan:
    """Return the plan for a host from all that was read of it."""
    selection = targets.selection(
        snapshot.predicted_groups(), selected.required
    )
    if not selection.targets:
        reasons = "; ".join(selection.skipped)
        raise errors.Refused(
            "no selected function can be assigned: "
            + (reasons or "see 'gpu-passthrough device list'")
        )
    names = DriverNames(
        options.binding or settings.binding,
        settings.iommu,
        settings.bootloader,
        settings.initramfs,
    )
    drivers, drivers_shown = load.drivers(
        names, snapshot.facts, boot.installation
    )
    plan = planning.plan(
        dataclasses.replace(
            _desired(selection, snapshot, settings, options),
            selection=selected.write,
        ),
        drivers,
        boot.installation,
        known(boot.boot_id) or "",
        journal.history,
        journal.built,
    )
    skipped = (f"skipped: {reasons}" for reasons in selection.skipped)
    notes = (*selected.notes, *skipped, *drivers_shown, *plan.notes)
    return EnablePlan(plan, notes, journal)


def enable(
    context: BootContext, options: EnableOptions, show: Show
) -> tuple[Change, ...]:
    """Make the changes; return them, with those already in effect.

    :param show: called with notes and changes before anything is done.
    :raises Error: when a step fails.  Completed steps stay: ``disable``
        reverts them, another ``enable`` resumes.
    """
    applier = _required(context.applier)
    with context.lock(), applier.locked():
        planned = plan_enable(context, options)
        show(planned.notes, planned.changes)
        if not planned.is_done:
            applier.apply(
                planned.changes,
                planned.plan.enablement,
                planned.journal.edits,
            )
        if planned.plan.needs_reboot:
            context.say(
                "reboot this host, then run 'gpu-passthrough host verify'"
            )
        elif planned.plan.has_changes:
            context.say(
                "the selection was changed; the boot configuration was not"
            )
        else:
            context.say("nothing to do: this host is enabled already")
        return planned.changes


def plan_disable(context: BootContext) -> tuple[UndoStep, ...]:
    """Return what ``disable`` would do now."""
    applier = _required(context.applier)
    history = applier.history()
    return _undo(context.tree, applier, history) if history else ()


def disable(context: BootContext) -> tuple[UndoStep, ...]:
    """Undo every change; return the steps.

    :raises Error: when a step fails; another ``disable`` resumes.
    """
    applier, reverter = _required(context.applier), _required(context.reverter)
    with context.lock(), applier.locked():
        history = applier.history()
        if history is None:
            context.say("nothing to do: this host was not enabled")
            return ()
        steps = _undo(context.tree, applier, history)
        driver = history.enablement.drivers["initramfs"]
        reverter.revert(
            history, steps, lambda step: _rebuild(context.tree, driver, step)
        )
        context.say("reboot this host to complete the rollback")
        return steps


def _journal(applier: Applier | None) -> JournalState:
    history = applier.history() if applier else None
    if applier is None or history is None:
        return JournalState()
    edits = foreign_edits.edits(history, applier.current_files(history))
    return JournalState(history, applier.built(history), edits)


def _desired(
    selection: Selection,
    snapshot: HostSnapshot,
    settings: Settings,
    options: EnableOptions,
) -> DesiredState:
    selected = {target.address for target in selection.targets}
    return DesiredState(
        targets=selection.targets,
        others=tuple(
            member
            for member in snapshot.members()
            if member.address not in selected
        ),
        blacklist=(*settings.blacklist, *options.blacklist),
        uses=snapshot.facts.uses,
        iommu_passthrough=settings.iommu_passthrough,
        allow_unsafe_interrupts=settings.allow_unsafe_interrupts,
        virtual_functions=tuple(
            member.address
            for member in snapshot.members()
            if member.address in selected
            and member.detail is not None
            and isinstance(member.detail.sriov, VirtualFunction)
        ),
    )


def _undo(
    tree: Tree, applier: Applier, history: History
) -> tuple[UndoStep, ...]:
    kernels = boot_state.read_installation(tree).kernels
    images = {kernel.release: kernel.image for kernel in kernels}
    return undo(history, applier.current_files(history), images)


def _rebuild(tree: Tree, driver_name: str, step: Rebuild) -> Build | None:
    """Return what builds one image, from the host's files as they are now."""
    installation = boot_state.read_installation(tree)
    driver, _ = load.initramfs(installation, driver_name)
    builds = planning.restored_images(driver, installation, (step.image,))
    return next(iter(builds), None)


def _required(changer: T | None) -> T:
    if changer is None:
        raise TypeError("a host that is only read")
    return changer
