"""Write and read the files of ``host record`` and ``host report``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import facts, record, recorded_tree
from gpu_passthrough_plugin.discovery.tree import RecordedTree, Tree
from gpu_passthrough_plugin.flow import boot_state
from gpu_passthrough_plugin.flow.verification import BootEvidence, Names
from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.host import report_archive
from gpu_passthrough_plugin.host.boot import journal_format
from gpu_passthrough_plugin.model import budget
from gpu_passthrough_plugin.model.change_history import Enablement
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from gpu_passthrough_plugin.model.redaction import Redaction

# Only names in an image that a diagnosis looks for are written.
_DIAGNOSED = ("vfio", "gpu-passthrough", "modprobe.d/")


class Recording(NamedTuple):
    """A recorded host.

    :param content: in umockdev's text format.
    :param faults: errors of drivers that do not load; the files that such a
        driver reads are not recorded.
    """

    content: bytes
    faults: tuple[errors.Invalid, ...]


class ReportedHost(NamedTuple):
    """A host, as read from its report."""

    tree: RecordedTree
    evidence: BootEvidence


def recording(tree: Tree, redaction: Redaction) -> Recording:
    """Return a recording of all that drivers and diagnoses read of a host.

    :param redaction: counts what was hidden.
    """
    reads, faults = boot_state.declared_reads()
    return Recording(record.written(tree, reads, redaction), faults)


def write(tree: Tree, evidence: BootEvidence, redaction: Redaction) -> bytes:
    """Return the content of a report.

    :param redaction: counts what was hidden.
    """
    parts = {report_archive.RECORDING: recording(tree, redaction).content}
    if not isinstance(evidence.log, Unknown):
        lines = kernel_log.relevant(evidence.log, redaction)
        parts[report_archive.LOG] = "".join(
            f"{line}\n" for line in lines
        ).encode()
    if evidence.enablement:
        parts[report_archive.ENABLEMENT] = _json(
            _redacted(
                journal_format.written_enablement(evidence.enablement),
                redaction,
            )
        )
    release = facts.facts(tree).kernel_release
    if not isinstance(release, Unknown):
        names = evidence.images(boot_state.read_installation(tree), release)
        if not isinstance(names, Unknown):
            diagnosed = [
                n for n in names if any(word in n for word in _DIAGNOSED)
            ]
            parts[report_archive.IMAGES] = _json({release: diagnosed})
    return report_archive.written(parts, redaction)


def _redacted(value: object, redaction: Redaction) -> object:
    """Return a JSON value whose texts are redacted."""
    if isinstance(value, str):
        return redaction.shell(value, is_own=True)
    if isinstance(value, list | tuple):
        return [_redacted(item, redaction) for item in value]
    if isinstance(value, dict):
        return {key: _redacted(item, redaction) for key, item in value.items()}
    return value


def read(path: str) -> ReportedHost:
    """Return the host of a report.

    :raises Invalid: when the file is not a complete report.
    """
    parts = report_archive.read(path)
    if report_archive.RECORDING not in parts:
        raise errors.Invalid(
            f"{path} is not a valid report: it has no"
            f" {report_archive.RECORDING}; expected a file that"
            " 'gpu-passthrough host report' wrote"
        )
    log: tuple[str, ...] | Unknown = MISSING
    if report_archive.LOG in parts:
        text = parts[report_archive.LOG][: budget.MAX_LOG_BYTES]
        log = kernel_log.parsed(text.decode(errors="replace"))
        log = log[: budget.MAX_LOG_LINES]
    images = _read_json(path, parts, report_archive.IMAGES)
    return ReportedHost(
        recorded_tree.parse(
            parts[report_archive.RECORDING],
            f"{path}: {report_archive.RECORDING}",
        ),
        BootEvidence(log, _enablement(path, parts), _ReportedImages(images)),
    )


class _ReportedImages:
    """Return the names in an image, from a report."""

    def __init__(self, images: object) -> None:
        self._images = images if isinstance(images, dict) else {}

    def __call__(self, _: Installation, release: str) -> Names:
        names = self._images.get(release)
        return tuple(map(str, names)) if isinstance(names, list) else MISSING


def _enablement(path: str, parts: Mapping[str, bytes]) -> Enablement | None:
    document = _read_json(path, parts, report_archive.ENABLEMENT)
    if document is None:
        return None
    try:
        return journal_format.read_enablement(document)
    except journal_format.MALFORMED as error:
        raise _malformed(path, report_archive.ENABLEMENT, error) from error


def _read_json(path: str, parts: Mapping[str, bytes], name: str) -> Any:
    """Return the JSON of one part of a report; None if there is no part."""
    if name not in parts:
        return None
    try:
        return json.loads(parts[name])
    except (ValueError, RecursionError) as error:
        raise _malformed(path, name, error) from error


def _malformed(path: str, name: str, error: Exception) -> errors.Invalid:
    return errors.Invalid(
        f"{path}: {name} is not valid ({error!r}); expected a report that"
        " 'gpu-passthrough host report' of this release wrote"
    )


def _json(value: object) -> bytes:
    return f"{json.dumps(value, indent=1)}\n".encode()
