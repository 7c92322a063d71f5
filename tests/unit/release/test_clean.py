from __future__ import annotations

from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.identity import Identity
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from gpu_passthrough_plugin.release import clean
from tests.unit.compute.build import unit

CARD = unit("06:00.0*", "06:00.1")
GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")
ITSELF = Identity(0x10DE, 0x1430)


def faults(
    audio: Identity | Unknown, failures: tuple[str, ...] = ()
) -> tuple[str, ...]:
    return clean.faults(CARD, {GPU: ITSELF, AUDIO: audio}, failures)


def test_a_unit_that_answers_as_itself_is_clean() -> None:
    assert faults(ITSELF) == ()


def test_a_function_that_does_not_answer() -> None:
    dead = ("0000:06:00.1 does not answer: its config space reads ff",)
    assert faults(Identity(0xFFFF, 0xFFFF)) == dead
    assert faults(Identity(0xFFFF, 0x1430)) == dead


def test_a_function_that_became_another() -> None:
    for ids, shown in (
        (Identity(0x10DE, 0x1431), "10de:1431"),
        (Identity(0x8086, 0x1430), "8086:1430"),
        (Identity(0, 0), "0000:0000"),
    ):
        assert faults(ids) == (
            f"0000:06:00.1 reads {shown}; it was 10de:1430",
        )


def test_what_could_not_be_read_is_not_clean() -> None:
    for unknown, shown in (
        (MISSING, "missing"),
        (Unknown(Why.UNREADABLE, "Input/output error"),
         "unreadable (Input/output error)"),
    ):  # fmt: skip
        assert faults(unknown) == (
            f"whether 0000:06:00.1 answers is unknown: {shown}",
        )


def test_a_reset_that_failed_is_not_clean_whatever_answers() -> None:
    assert faults(ITSELF, ("bus reset failed",)) == ("bus reset failed",)
    assert len(faults(MISSING, ("bus reset failed",))) == 2
