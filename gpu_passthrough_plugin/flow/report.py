"""``host record`` and ``host report``: a host in one file for elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import facts, record, recorded_tree
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import boot_state
from gpu_passthrough_plugin.flow.verification import Known, Names
from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.host import report_archive
from gpu_passthrough_plugin.host.boot import journal_format
from gpu_passthrough_plugin.model.change_history import Enablement
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import MISSING, Unknown

# Of an image's names those that an explanation looks for.
_TOLD = ("vfio", "gpu-passthrough", "modprobe.d/")


class Recording(NamedTuple):
    """A host as umockdev's text.

    :param faults: of drivers that do not load, so that what they read of a
        host is not in it.
    """

    content: bytes
    faults: tuple[errors.Invalid, ...]


class Reported(NamedTuple):
    """A host as its report has it."""

    tree: Tree
    known: Known


def recording(tree: Tree) -> Recording:
    """Return all that any driver, or an explanation, reads of a host."""
    reads, faults = boot_state.declared_reads()
    return Recording(record.written(tree, reads), faults)


def written(tree: Tree, known: Known) -> bytes:
    """The report's file."""
    parts = {report_archive.RECORDING: recording(tree).content}
    if not isinstance(known.log, Unknown):
        lines = kernel_log.relevant(known.log)
        parts[report_archive.LOG] = "".join(
            f"{line}\n" for line in lines
        ).encode()
    if known.enablement:
        parts[report_archive.ENABLEMENT] = _json(
            journal_format.written_enablement(known.enablement)
        )
    release = facts.facts(tree).kernel_release
    if not isinstance(release, Unknown):
        names = known.images(boot_state.read_installation(tree), release)
        if not isinstance(names, Unknown):
            told = [n for n in names if any(word in n for word in _TOLD)]
            parts[report_archive.IMAGES] = _json({release: told})
    return report_archive.written(parts)


def read(path: str) -> Reported:
    """The host that a report tells of.

    :raises Invalid: when it is no report, or not whole.
    """
    parts = report_archive.read(path)
    if report_archive.RECORDING not in parts:
        raise errors.Invalid(
            f"{path} holds no {report_archive.RECORDING}; wanted what"
            " 'gpu-passthrough host report' wrote"
        )
    log: tuple[str, ...] | Unknown = MISSING
    if report_archive.LOG in parts:
        log = kernel_log.parsed(
            parts[report_archive.LOG].decode(errors="replace")
        )
    images = _read_json(path, parts, report_archive.IMAGES)
    return Reported(
        recorded_tree.parse(
            parts[report_archive.RECORDING],
            f"{path}: {report_archive.RECORDING}",
        ),
        Known(log, _enablement(path, parts), _Listed(images)),
    )


class _Listed:
    """Names in images, as a report has them."""

    def __init__(self, images: object) -> None:
        self._images = images if isinstance(images, dict) else {}

    def __call__(self, _: Installation, release: str) -> Names:
        names = self._images.get(release)
        return tuple(map(str, names)) if isinstance(names, list) else MISSING


def _enablement(path: str, parts: Mapping[str, bytes]) -> Enablement | None:
    found = _read_json(path, parts, report_archive.ENABLEMENT)
    if found is None:
        return None
    try:
        return journal_format.read_enablement(found)
    except journal_format.MALFORMED as error:
        raise _malformed(path, report_archive.ENABLEMENT, error) from error


def _read_json(path: str, parts: Mapping[str, bytes], name: str) -> Any:
    """What a part says; None where there is none."""
    if name not in parts:
        return None
    try:
        return json.loads(parts[name])
    except (ValueError, RecursionError) as error:
        raise _malformed(path, name, error) from error


def _malformed(path: str, name: str, error: Exception) -> errors.Invalid:
    return errors.Invalid(
        f"{path}: {name} is nothing that 'gpu-passthrough host report' of"
        f" this release wrote ({error!r}); ask for the report anew"
    )


def _json(value: object) -> bytes:
    return f"{json.dumps(value, indent=1)}\n".encode()
