"""Clean a unit whose guest is not known any more."""

from __future__ import annotations

from gpu_passthrough_plugin.compute import reset as resets
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.flow import quarantine, sanitise, teardown
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.model.instance import (
    Instance,
    NamedInstance,
    Phase,
)
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.unit import Unit


def clean(context: HostContext, unit: Unit) -> tuple[str, ...]:
    """Reset and check a unit that this host's ledger does not have.

    Its functions are on the drivers afterwards that they were on; if this
    is interrupted, the next one that cleans the unit returns them.  One that
    a reset leaves dead is clean in the next boot of the host.

    :return: why it is not clean.
    """
    entry = Instance(
        quarantine.journal_uuid(unit),
        phase=Phase.QUARANTINED,
        boot_id=known(host_facts.boot_id(context.tree)) or "",
        rebinds=teardown.present_rebinds(context, [unit]),
    )
    if context.journal.read(entry.uuid) is None:
        context.journal.write(entry)
    if lines := resets.losses(unit):
        # A reset would leave it dead; only a boot of the host cleans it.
        is_dirty = quarantine.had_guest(context, unit)
        faults = (
            *sanitise.check_clean(context, unit),
            *(lines if is_dirty else ()),
        )
    else:
        # Nova has deleted the instance: no one knows its name any more.
        cleaning = sanitise.sanitise(context, unit, {}, NamedInstance("", ""))
        faults = teardown.why_quarantined(cleaning)
    if not faults:
        teardown.restore(context, unit)
    return faults
