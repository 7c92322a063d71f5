"""Write and read the files of ``host record`` and ``host report``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.diagnosis import guest_log
from gpu_passthrough_plugin.discovery import facts, record, recorded_tree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import boot_state
from gpu_passthrough_plugin.flow.verification import BootEvidence, Names
from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.host import kmsg, report_archive
from gpu_passthrough_plugin.host.boot import journal_format
from gpu_passthrough_plugin.model import budget
from gpu_passthrough_plugin.model.change_history import Enablement
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from gpu_passthrough_plugin.model.redaction import Redaction

# Only names in an image that a diagnosis looks for are written.
_DIAGNOSED = ("vfio", "gpu-passthrough", "modprobe.d/")
# Of reasons that a report gives, characters of each and how many.
_MAX_REASON = 400
_MAX_DRIVERS = 20


class Recording(NamedTuple):
    """A recorded host.

    :param content: in umockdev's text format.
    :param faults: errors of drivers that do not load; the files that such a
        driver reads are not recorded.
    """

    content: bytes
    faults: tuple[errors.Invalid, ...]


class Report(NamedTuple):
    """A report that was not written to a file yet.

    :param content: of the file.
    :param notes: what could not be read of the host, and why.
    """

    content: bytes
    notes: tuple[str, ...]


class ReportedHost(NamedTuple):
    """A host, as read from its report.

    :param notes: what could not be read of it when the report was written,
        and why.
    """

    tree: RecordedTree
    evidence: BootEvidence
    notes: tuple[str, ...]


class _Unread(NamedTuple):
    """Why parts of a host are not in its report; None for what is.

    :param drivers: the errors of drivers whose files are not recorded.
    """

    log: Unknown | None
    images: Unknown | None
    drivers: tuple[str, ...]

    def notes(self) -> tuple[str, ...]:
        """Return a line for each."""
        reasons = {"kernel log": self.log, "initramfs image": self.images}
        return (
            *(
                f"the {name} is not in the report: {reason}"
                for name, reason in reasons.items()
                if reason
            ),
            *(
                f"files of one driver are not recorded: {error}"
                for error in self.drivers
            ),
        )


def read_guest_log(path: str) -> tuple[str, ...]:
    """Return what explains anything of a guest's log, without times.

    The oldest message is first; of too long a log the beginning is read.

    :param path: ``-`` for standard input.
    :raises ReadFailed: when it cannot be read.
    """
    return guest_log.relevant(kernel_log.parsed(kmsg.guest_text(path)))


def recording(tree: Tree, redaction: Redaction) -> Recording:
    """Return a recording of all that drivers and diagnoses read of a host.

    :param redaction: counts what was hidden.
    """
    reads, faults = boot_state.declared_reads()
    return Recording(record.written(tree, reads, redaction), faults)


def write(tree: Tree, evidence: BootEvidence, redaction: Redaction) -> Report:
    """Return a report.

    :param redaction: counts what was hidden.
    """
    recorded = recording(tree, redaction)
    parts = {report_archive.RECORDING: recorded.content}
    log = evidence.log
    if not isinstance(log, Unknown):
        lines = kernel_log.relevant(log, redaction)
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
    names: Names = release if isinstance(release, Unknown) else ()
    if not isinstance(release, Unknown):
        names = evidence.images(boot_state.read_installation(tree), release)
    if not isinstance(names, Unknown):
        diagnosed = [n for n in names if any(word in n for word in _DIAGNOSED)]
        parts[report_archive.IMAGES] = _json({release: diagnosed})
    unread = _Unread(
        log if isinstance(log, Unknown) else None,
        names if isinstance(names, Unknown) else None,
        tuple(map(str, recorded.faults)),
    )
    parts[report_archive.UNREAD] = _json(
        _redacted(_written_unread(unread), redaction)
    )
    content = report_archive.written(parts, redaction)
    return Report(content, unread.notes())


def _written_unread(unread: _Unread) -> dict[str, object]:
    reasons = {"log": unread.log, "images": unread.images}
    return {
        **{
            name: {"why": str(reason.why), "detail": reason.detail}
            for name, reason in reasons.items()
            if reason
        },
        "drivers": list(unread.drivers),
    }


def _read_unread(document: Any) -> _Unread:
    """Return why parts are not in a report; raise if it is malformed."""
    if not isinstance(document, dict):
        raise TypeError(f"{document!r:.40} is not an object")
    log, images = (
        Unknown(Why(reason["why"]), str(reason["detail"])[:_MAX_REASON])
        if (reason := document.get(name))
        else None
        for name in ("log", "images")
    )
    drivers = document.get("drivers") or []
    return _Unread(
        log,
        images,
        tuple(str(error)[:_MAX_REASON] for error in drivers[:_MAX_DRIVERS]),
    )


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
    unread = _unread(path, parts)
    log: tuple[str, ...] | Unknown = unread.log or MISSING
    if report_archive.LOG in parts:
        text = parts[report_archive.LOG][: budget.MAX_LOG_BYTES]
        log = kernel_log.parsed(text.decode(errors="replace"))
        log = log[: budget.MAX_LOG_LINES]
    images = _ReportedImages(
        _read_json(path, parts, report_archive.IMAGES),
        unread.images or MISSING,
    )
    return ReportedHost(
        recorded_tree.parse(
            parts[report_archive.RECORDING],
            f"{path}: {report_archive.RECORDING}",
        ),
        BootEvidence(log, _enablement(path, parts), images),
        unread.notes(),
    )


def _unread(path: str, parts: Mapping[str, bytes]) -> _Unread:
    document = _read_json(path, parts, report_archive.UNREAD)
    if document is None:
        # A report of an earlier version gives no reasons.
        return _Unread(
            None if report_archive.LOG in parts else MISSING,
            None if report_archive.IMAGES in parts else MISSING,
            (),
        )
    try:
        return _read_unread(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _malformed(path, report_archive.UNREAD, error) from error


class _ReportedImages:
    """Return the names in an image, from a report.

    :param otherwise: why there are none.
    """

    def __init__(self, images: object, otherwise: Unknown) -> None:
        self._images = images if isinstance(images, dict) else {}
        self._otherwise = otherwise

    def __call__(self, _: Installation, release: str) -> Names:
        names = self._images.get(release)
        if isinstance(names, list):
            return tuple(map(str, names))
        return self._otherwise


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
