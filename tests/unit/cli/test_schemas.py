"""What commands print is what their JSON Schemas say."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from gpu_passthrough_plugin.cli import main, schemas
from gpu_passthrough_plugin.discovery import recorded_tree

RECORDINGS = Path(__file__).parents[2] / "recordings"
HOSTS = (
    recorded_tree.SEED,
    *(str(path) for path in sorted(RECORDINGS.glob("*.umockdev"))),
)
_NOVA = '[pci]\ndevice_spec = {"vendor_id": "10de"}\nalias = x\n'
CALLS = {
    "device list": "device list",
    "group list": "group list",
    "host check": "host check",
    "host verify": "host verify",
    "nova check": "nova check {nova} --release 34",
    "nova config": "nova config --release 34",
    "nova config -o": "nova config --release 34 -o {folder}",
}


def require_valid(document: object, command: str) -> None:
    """Raise unless a document is what a command prints."""
    schema = schemas.schemas()[command]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize("host", HOSTS, ids=lambda h: Path(h).stem)
def test_output_is_valid(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nova = tmp_path / "nova.conf"
    nova.write_text(_NOVA)
    for command, call in CALLS.items():
        words = call.format(nova=nova, folder=tmp_path / "made").split()
        status = main.main(["--recording", host, *words, "-f", "json"])
        out = capsys.readouterr().out
        # What is refused has no document.
        if out or status == 0:
            require_valid(json.loads(out), command)
    picture = tmp_path / "host.json"
    words = ["topology", "-o", str(picture)]
    assert main.main(["--recording", host, *words]) == 0
    require_valid(json.loads(picture.read_text()), "topology -o")


def test_a_column_that_is_missing_or_of_another_type_is_not() -> None:
    good = {
        "Check": "iommu", "Status": "pass", "Detail": "", "Remedy": "",
        "Findings": [],
    }  # fmt: skip
    require_valid([good], "host check")
    require_valid([{**good, "New": 1}], "host check")
    for bad in (
        {k: v for k, v in good.items() if k != "Findings"},
        {**good, "Status": "fine"},
        {**good, "Findings": "none"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            require_valid([bad], "host check")


def test_the_file_is_made_from_the_columns() -> None:
    """To make it again, see ``schemas``."""
    path = resources.files("gpu_passthrough_plugin") / "data/schemas.json"
    assert path.read_text("utf-8") == schemas.text()
