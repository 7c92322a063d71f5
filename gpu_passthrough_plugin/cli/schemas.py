"""JSON Schemas of what commands print with ``-f json``.

Made from the columns that the commands print, so that a column without a
type is an error here.  ``data/schemas.json`` is what this makes:

    python -m gpu_passthrough_plugin.cli.schemas > \
        gpu_passthrough_plugin/data/schemas.json

Source: https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from gpu_passthrough_plugin.cli import fastpath, findings, host, nova, verified
from gpu_passthrough_plugin.cli.command import CHANGES
from gpu_passthrough_plugin.model.advice import Confidence
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.selector import SelectionState

Schema = Mapping[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
# What could not be read is a text that says why.
_NUMBER: Schema = {"type": ["integer", "string", "null"]}
_TEXTS_OR_UNKNOWN: Schema = {"anyOf": [_TEXTS, _TEXT]}


def _one_of(values: Iterable[str]) -> Schema:
    return {"enum": [str(value) for value in values]}


def _object(properties: Mapping[str, Schema]) -> Schema:
    """Return the schema of an object that has these; later ones may be more.

    A release may add a property; it does not take one away.
    """
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
    }


def _list(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "array", "items": _object(properties)}


_CONFIDENCE = _one_of(Confidence)
_FIX: Schema = _object({"text": _TEXT, "commands": _TEXTS})
_FINDINGS = _list(
    {
        "name": _TEXT,
        "confidence": _CONFIDENCE,
        "text": _TEXT,
        "functions": _TEXTS,
        "evidence": _TEXTS,
        "fix": {"anyOf": [_FIX, {"type": "null"}]},
    }
)
_CAUSES = _list(
    {
        "name": _TEXT,
        "confidence": _CONFIDENCE,
        "text": _TEXT,
        "evidence": _TEXT,
        "fix": _TEXT,
    }
)

# Of each column; one name has one type, whichever command prints it.
COLUMNS: Mapping[str, Schema] = {
    "Action": _TEXT,
    "Address": _TEXT,
    "Assignable": {"type": "boolean"},
    "Cause": _CAUSES,
    "Check": _TEXT,
    "Class": _TEXT,
    "Contents": _TEXT,
    "Detail": _TEXT,
    "Driver": _TEXT_OR_NULL,
    "Expected": _TEXT,
    "File": _TEXT,
    findings.COLUMN: _FINDINGS,
    "Fix": _TEXTS,
    "Found": _TEXT,
    "Functions": _TEXTS,
    "Goes To": _TEXT,
    "Group": {"type": ["integer", "null"]},
    "IOMMU Group": _NUMBER,
    "NUMA Node": _NUMBER,
    "Name": _TEXT,
    "Primary": _TEXTS,
    "Product ID": _TEXT,
    "Reasons": _TEXTS,
    "Remedy": _TEXT,
    "Reset Methods": _TEXTS_OR_UNKNOWN,
    "Selection": _one_of(SelectionState),
    "Status": _one_of(Status),
    "Step": _TEXT,
    "Target": _TEXT,
    "Vendor ID": _TEXT,
    "Where": _TEXT,
}

# The columns of commands that print a list.
LISTS: Mapping[str, tuple[str, ...]] = {
    "device list": fastpath.DEVICE,
    "group list": (*fastpath.GROUP, findings.COLUMN),
    "host check": host.CHECKS,
    "host enable": CHANGES,
    "host disable": CHANGES,
    "host verify": verified.COLUMNS,
    "nova check": nova.FINDINGS,
    "nova config": nova.SHOWN,
    "nova config -o": nova.WRITTEN,
}

_FUNCTION: Mapping[str, Schema] = {
    "address": _TEXT,
    "name": _TEXT,
    "kind": _TEXT,
    "is_primary": {"type": "boolean"},
    "facts": _TEXTS,
    "folded": _TEXTS,
}
_ITEMS: Schema = {"type": "array", "items": {"$ref": "#/$defs/item"}}


def _item(kind: str, properties: Mapping[str, Schema]) -> Schema:
    return _object({"type": {"const": kind}, **properties})


def _picture() -> Schema:
    """Return the schema of the file that ``topology -o FILE.json`` writes."""
    group: Schema = {
        "number": {"type": ["integer", "null"]},
        "more": _TEXTS,
        "state": _TEXT,
        "detail": _TEXT,
        "items": _ITEMS,
    }
    bridge = {**_FUNCTION, "group": _NUMBER, "items": _ITEMS}
    document = _object(
        {
            "version": {"type": "integer"},
            "title": _TEXT,
            "nodes": _list({"title": _TEXT, "items": _ITEMS}),
            "notes": _TEXTS,
        }
    )
    items = (
        _item("function", _FUNCTION),
        _item("bridge", bridge),
        _item("group", group),
    )
    return {**document, "$defs": {"item": {"anyOf": list(items)}}}


def schemas() -> dict[str, Schema]:
    """Return the schema of each command's JSON, by the command."""
    bare = {
        command: _list({name: COLUMNS[name] for name in names})
        for command, names in LISTS.items()
    }
    bare["topology -o"] = _picture()
    return {
        command: {"$schema": _DIALECT, "title": command, **schema}
        for command, schema in sorted(bare.items())
    }


def text() -> str:
    """Return all schemas as one document: an object with one a command."""
    return json.dumps(schemas(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
