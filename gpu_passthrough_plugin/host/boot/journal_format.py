"""The journal of changes to a host's boot as a JSON document."""

from __future__ import annotations

from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.change_history import (
    Attributes,
    ChangeKind,
    ChangeRecord,
    Enablement,
    FileBackup,
    FileState,
    History,
    Target,
)

MALFORMED = (
    ValueError, KeyError, TypeError, AttributeError, RecursionError,
    errors.Invalid,
)  # fmt: skip
"""What the readers raise for a document that this module did not write."""

_FORMAT = 1


def written(history: History) -> dict[str, object]:
    """Return a history as a document for ``json``."""
    return {
        "format": _FORMAT,
        "is_finished": history.is_finished,
        "enablement": written_enablement(history.enablement),
        "folders": list(history.folders),
        "records": [
            {
                "kind": r.kind,
                "step": r.step,
                "target": r.target,
                "is_done": r.is_done,
                "paths": list(r.paths),
                "undo_argv": list(r.undo_argv),
                "kernel": r.kernel,
                "inputs": r.inputs,
            }
            for r in history.records
        ],
        "files": {
            path: {
                "original": _file_state(backup.original),
                "last_written": _file_state(backup.last_written),
                "pending": backup.pending,
                "backup_path": backup.backup_path,
                "is_lost": backup.is_lost,
                "embedded": list(backup.embedded),
            }
            for path, backup in history.files.items()
        },
    }


def read(document: dict[str, Any]) -> History:
    """Return the history in a document.

    :raises ValueError, KeyError, TypeError, AttributeError: when it was
        not written by this.
    """
    if document["format"] != _FORMAT:
        raise ValueError(f"format {document['format']}")
    history = History(
        enablement=read_enablement(document["enablement"]),
        records=tuple(_read_record(r) for r in document["records"]),
        files={p: _read_backup(b) for p, b in document["files"].items()},
        folders=_texts(document["folders"]),
        is_finished=bool(document["is_finished"]),
    )
    for record in history.records:
        for path in record.paths:
            if path not in history.files:
                raise ValueError(f"no backup of {path}")
    return history


def written_enablement(enablement: Enablement) -> dict[str, object]:
    """Return what a host is enabled for, as a document for ``json``."""
    return {
        "targets": [
            {**t._asdict(), "address": str(t.address)}
            for t in enablement.targets
        ],
        "binding": enablement.binding,
        "arguments": list(enablement.arguments),
        "boot_id": enablement.boot_id,
        "drivers": dict(enablement.drivers),
    }


def read_enablement(document: dict[str, Any]) -> Enablement:
    """Return the enablement in a document; raise as ``read`` does."""
    targets = tuple(map(_read_target, document["targets"]))
    return Enablement(
        targets,
        _text(document["binding"]),
        _texts(document["arguments"]),
        _text(document["boot_id"]),
        {_text(k): _text(v) for k, v in document["drivers"].items()},
    )


def _read_target(document: dict[str, Any]) -> Target:
    group = document["iommu_group"]
    return Target(
        address=address.parse(document["address"]),
        vendor_id=_number(document["vendor_id"]),
        product_id=_number(document["product_id"]),
        class_code=_number(document["class_code"]),
        is_primary=bool(document["is_primary"]),
        modules=_texts(document["modules"]),
        iommu_group=None if group is None else _number(group),
    )


def _read_record(document: dict[str, Any]) -> ChangeRecord:
    return ChangeRecord(
        kind=ChangeKind(document["kind"]),
        step=_text(document["step"]),
        target=_text(document["target"]),
        is_done=bool(document["is_done"]),
        paths=_texts(document["paths"]),
        undo_argv=_texts(document["undo_argv"]),
        kernel=_text(document["kernel"]),
        inputs=_text(document["inputs"]),
    )


def _read_backup(document: dict[str, Any]) -> FileBackup:
    return FileBackup(
        original=_read_file_state(document["original"]),
        last_written=_read_file_state(document["last_written"]),
        pending=_text(document["pending"]),
        backup_path=_text(document["backup_path"]),
        is_lost=bool(document["is_lost"]),
        embedded=_texts(document["embedded"]),
    )


def _file_state(state: FileState | None) -> dict[str, object] | None:
    if state is None:
        return None
    xattrs = {name: value.hex() for name, value in state.attributes.xattrs}
    return {
        "digest": state.digest,
        **state.attributes._asdict(),
        "xattrs": xattrs,
    }


def _read_file_state(document: dict[str, Any] | None) -> FileState | None:
    if document is None:
        return None
    numbers = (document[n] for n in ("mode", "uid", "gid", "mtime_ns"))
    mode, uid, gid, mtime_ns = map(int, numbers)
    digest = _text(document["digest"])
    # The digest becomes a part of a path.
    if len(bytes.fromhex(digest)) != 32:
        raise ValueError(f"digest {digest}")
    xattrs = tuple(
        (name, bytes.fromhex(value))
        for name, value in document["xattrs"].items()
    )
    return FileState(digest, Attributes(mode, uid, gid, mtime_ns, xattrs))


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return tuple(map(_text, value))
