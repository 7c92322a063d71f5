"""Which ids vfio-pci was given, and which it says that it took."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Evidence
from gpu_passthrough_plugin.diagnosis.log import lines as log_lines
from gpu_passthrough_plugin.formats import vfio_pci_ids
from gpu_passthrough_plugin.formats.vfio_pci_ids import IdList
from gpu_passthrough_plugin.model.reading import Unknown, known


def told_ids(evidence: Evidence) -> tuple[IdList, ...]:
    """Return the lists on the running kernel's command line."""
    return vfio_pci_ids.from_cmdline(
        known(evidence.facts.kernel_arguments) or ()
    )


def taken_ids(evidence: Evidence) -> IdList | None:
    """Return the ids that vfio-pci logged; None where it logged none."""
    return vfio_pci_ids.from_log(log_lines(evidence))


def given_ids(evidence: Evidence) -> tuple[IdList, ...]:
    """Return what configuration gives, or else what the log shows.

    A vfio-pci that is built in never reads modprobe.d.
    """
    given = told_ids(evidence)
    if not is_builtin_vfio(evidence):
        given += vfio_pci_ids.from_modprobe(evidence.installation)
    if given:
        return given
    taken = taken_ids(evidence)
    return () if taken is None else (taken,)


def is_builtin_vfio(evidence: Evidence) -> bool:
    """Return whether the running kernel is known to have vfio-pci built in."""
    kernel = evidence.kernel
    if kernel is None or isinstance(kernel.builtin, Unknown):
        return False
    return vfio_pci_ids.MODULE in kernel.builtin
