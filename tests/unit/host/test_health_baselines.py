"""What is kept of how a unit did."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.health_baselines import HealthBaselines
from gpu_passthrough_plugin.model.function_health import (
    NO_LINK,
    AerCounters,
    FunctionHealth,
    Link,
)
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.compute.build import unit

CARD = unit("06:00.0*", "06:00.1")
GPU, AUDIO = (function.address for function in CARD.functions)
LOST = Unknown(Why.UNREADABLE, "Input/output error")
GOOD = {
    GPU: FunctionHealth(
        Link(16.0, 8, 32.0, 16), None, "D0", "active", False,
        AerCounters({"RxErr": 1}, 1), LOST, AerCounters({}, 0),
    ),
    AUDIO: FunctionHealth(
        NO_LINK, None, None, None, False, None, None, None
    ),
}  # fmt: skip


def test_what_was_written_is_read_by_another(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "health"
    HealthBaselines(str(folder)).write(CARD, "boot", GOOD)
    assert folder.stat().st_mode & 0o777 == 0o700
    baseline = HealthBaselines(str(folder)).read(CARD, "boot")
    assert baseline is not None
    assert baseline[GPU].link[:2] == (16.0, 8)
    assert baseline[GPU].correctable == AerCounters({"RxErr": 1}, 1)
    # What was not known is not known later either.
    assert baseline[GPU].nonfatal is None
    assert baseline[AUDIO].link.width is None
    assert [path.name for path in folder.iterdir()] == [f"{GPU}.json"]


def test_another_boot_or_another_card_has_none(tmp_path: Path) -> None:
    baselines = HealthBaselines(str(tmp_path))
    assert baselines.read(CARD, "boot") is None
    baselines.write(CARD, "boot", GOOD)
    assert baselines.read(CARD, "next") is None
    first, second = CARD.functions
    other = dataclasses.replace(
        CARD,
        functions=(dataclasses.replace(first, product_id=0x2684), second),
    )
    assert baselines.read(other, "boot") is None
    assert baselines.read(CARD, "boot") is not None


def test_what_another_process_writes_is_seen(tmp_path: Path) -> None:
    baselines = HealthBaselines(str(tmp_path))
    baselines.write(CARD, "boot", GOOD)
    assert baselines.read(CARD, "boot")
    less = GOOD | {GPU: GOOD[GPU]._replace(link=Link(2.5, 16))}
    HealthBaselines(str(tmp_path)).write(CARD, "boot", less)
    baseline = baselines.read(CARD, "boot")
    assert baseline and baseline[GPU].link[:2] == (2.5, 16)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 2}',
        '{"format": 1, "subject": "b"}',
        "[" * 9999,
    ],
)
def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    baselines = HealthBaselines(str(tmp_path))
    (tmp_path / f"{GPU}.json").write_text(text)
    assert baselines.read(CARD, "boot") is None
    baselines.write(CARD, "boot", GOOD)
    document = json.loads((tmp_path / f"{GPU}.json").read_text())
    assert document["format"] == 1
    assert baselines.read(CARD, "boot")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "health").write_text("")
    with pytest.raises(errors.Unavailable, match="health"):
        HealthBaselines(f"{tmp_path}/health").write(CARD, "boot", GOOD)
