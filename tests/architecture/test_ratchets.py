"""What is left against the rules of the house only falls."""

from __future__ import annotations

from tests.architecture import ratchets

FAULTS = {"modules": ["a", "b"], "vague_names.model": ["c"]}


def test_no_figure_is_passed() -> None:
    assert ratchets.over(ratchets.measured(), ratchets.limits()) == ""


def test_a_figure_that_is_passed_is_told_with_every_fault() -> None:
    told = ratchets.over(FAULTS, {"modules": 1, "vague_names.model": 1})
    assert told == "modules: 2, may be 1 at most\na\nb"


def test_a_room_without_a_figure_has_none() -> None:
    assert ratchets.over(FAULTS, {"modules": 2}).startswith(
        "vague_names.model"
    )


def test_figures_fall_and_never_rise() -> None:
    figures = {"modules": 1, "vague_names.model": 5, "vague_names.host": 3}
    assert ratchets.lowered(FAULTS, figures) == {
        "modules": 1,
        "vague_names.model": 1,
        "vague_names.host": 0,
    }


def test_what_is_written_is_what_is_read() -> None:
    figures = {name: 1 for name in ratchets.RULES} | {
        "vague_names.model": 5,
        "vague_names.host": 0,
    }
    text = ratchets.document(figures, {"model": 97})
    del figures["vague_names.host"]
    assert ratchets.limits(text) == figures
    assert ratchets.floors(text) == {"model": 97}


def test_the_file_is_as_the_commands_write_it() -> None:
    text = ratchets.document(ratchets.limits(), ratchets.floors())
    assert ratchets.FILE.read_text() == text
