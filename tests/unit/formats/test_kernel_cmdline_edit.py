from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats.kernel_cmdline import (
    Requirements,
    is_satisfied,
    missing,
    split,
)
from gpu_passthrough_plugin.formats.kernel_cmdline_edit import (
    Difference,
    correct_text,
    difference,
    edit_text,
    edit_words,
)

ON = Requirements(("intel_iommu=on",), ("intel_iommu=off", "iommu=off"))
IDS = Requirements(lists=(("vfio-pci.ids", ("10de:1430", "10de:0fba")),))


def after(text: str, required: Requirements = ON) -> str:
    """The text as it is rewritten; its words as they are edited."""
    rewritten = edit_text(text, required)
    edited = edit_words(split(text), required)
    assert split(rewritten.text) == edited.words
    assert rewritten.notes == edited.notes
    assert is_satisfied(edited.words, required)
    return rewritten.text


@pytest.mark.parametrize(
    ("text", "required"),
    [
        ("", "intel_iommu=on"),
        ("\n", "intel_iommu=on\n"),
        ("quiet\n", "quiet intel_iommu=on\n"),
        ("ro  quiet ", "ro  quiet intel_iommu=on "),
        ("ro xintel_iommu=on", "ro xintel_iommu=on intel_iommu=on"),
        # What was said is not said again.
        ("intel_iommu=on ro", "intel_iommu=on ro"),
        ("intel_iommu=sm_on,on ro", "intel_iommu=sm_on,on ro"),
        ("intel-iommu=on", "intel-iommu=on"),
        ('"intel_iommu=on"', '"intel_iommu=on"'),
        # Off becomes on where it stands, and nothing later takes it back.
        ("ro intel_iommu=off  quiet", "ro intel_iommu=on  quiet"),
        ("intel_iommu=off,sm_on", "intel_iommu=on,sm_on"),
        ("intel_iommu=on,off", "intel_iommu=on"),
        ("intel_iommu=on a intel_iommu=off", "intel_iommu=on a"),
        ("intel_iommu=off a intel_iommu=on", "a intel_iommu=on"),
        ("intel_iommu=off intel_iommu=off", "intel_iommu=on"),
        ("iommu=off quiet", "quiet intel_iommu=on"),
        ("iommu=pt,off", "iommu=pt intel_iommu=on"),
        # Behind ``--`` all is init's.
        ("ro -- intel_iommu=on", "ro intel_iommu=on -- intel_iommu=on"),
        ("-- intel_iommu=off", "intel_iommu=on -- intel_iommu=off"),
        # A quoted word is one.
        ('a="b iommu=off c" d', 'a="b iommu=off c" d intel_iommu=on'),
        # A quote that is not closed would take in what comes behind it.
        ('ro a="b c', 'ro intel_iommu=on a="b c'),
        # Near by, and right.
        (
            "amd_iommu=on iommu=pt intel_idle.max_cstate=1",
            "amd_iommu=on iommu=pt intel_idle.max_cstate=1 intel_iommu=on",
        ),
    ],
)  # fmt: skip
def test_a_line_is_corrected_and_completed(text: str, required: str) -> None:
    assert after(text) == required


@pytest.mark.parametrize(
    "typo",
    [
        "intel_opmmu=on",
        "intel_iomm=on",
        "intel_iommmu=off",
        "intel_iommuu=on",
        "Intel_IOMMU=on",
        "intel_iommu",
    ],
)
def test_a_misspelt_argument_is_replaced_where_it_stands(typo: str) -> None:
    edited = edit_text(f"ro {typo} quiet", ON)
    assert edited.text == "ro intel_iommu=on quiet"
    (note,) = edited.notes
    assert typo in note
    assert "intel_iommu=on" in note


def test_a_misspelt_argument_beside_the_right_one_is_removed() -> None:
    edited = edit_text("intel_opmmu=on intel_iommu=on", ON)
    assert edited.text == "intel_iommu=on"
    assert "intel_opmmu=on" in edited.notes[0]


@pytest.mark.parametrize("dead", ["vfoi-pci.ids", "vfio-pci-ids"])
def test_the_values_of_a_misspelt_list_stay_without_effect(dead: str) -> None:
    """They never had one, and may name what the host needs."""
    edited = edit_text(f"{dead}=8086:a170 ro", IDS)
    assert edited.text == (
        f"{dead}=8086:a170 ro vfio-pci.ids=10de:1430,10de:0fba"
    )
    (note,) = edited.notes
    assert f"{dead}=8086:a170" in note


@pytest.mark.parametrize(
    ("text", "required", "notes"),
    [
        ("", "vfio-pci.ids=10de:1430,10de:0fba", 0),
        ("vfio-pci.ids=10de:0fba,10de:1430", None, 0),
        ("vfio_pci.ids=1:2,10de:1430 ro",
         "vfio_pci.ids=1:2,10de:1430,10de:0fba ro", 0),
        ("vfio-pci.ids=1:2 ro vfio_pci.ids=10de:1430",
         "vfio-pci.ids=1:2,10de:1430,10de:0fba ro", 1),
        ("vfio-pci.ids= ro", "vfio-pci.ids=10de:1430,10de:0fba ro", 0),
        # The last one counts, and has them all.
        ("vfio-pci.ids=1:2 vfio-pci.ids=10de:1430,10de:0fba", None, 0),
    ],
)  # fmt: skip
def test_lists_of_one_name_are_merged(
    text: str, required: str | None, notes: int
) -> None:
    assert after(text, IDS) == (text if required is None else required)
    assert len(edit_text(text, IDS).notes) == notes


@pytest.mark.parametrize(
    ("text", "before", "required"),
    [
        # One more value, one less, others' values.
        ("vfio-pci.ids=1:1", "1:1", "vfio-pci.ids=1:1,2:2"),
        ("vfio-pci.ids=1:1,2:2,3:3", "1:1,3:3", "vfio-pci.ids=1:1,2:2"),
        ("vfio-pci.ids=9:9,3:3", "3:3", "vfio-pci.ids=9:9,1:1,2:2"),
    ],
)
def test_values_required_earlier_are_removed(
    text: str, before: str, required: str
) -> None:
    now = Requirements(
        forbidden=(f"vfio-pci.ids={before}",),
        lists=(("vfio-pci.ids", ("1:1", "2:2")),),
    )
    assert after(text, now) == required
    nothing = Requirements(forbidden=(f"vfio-pci.ids={before}",))
    assert after(f"ro vfio-pci.ids={before}", nothing) == "ro"


def test_of_a_modules_parameters_the_last_one_counts() -> None:
    unsafe = "vfio_iommu_type1.allow_unsafe_interrupts"
    required = Requirements((f"{unsafe}=1",))
    assert not is_satisfied((f"{unsafe}=1", f"{unsafe}=0"), required)
    assert is_satisfied((f"{unsafe}=0", f"{unsafe}=1"), required)
    # Those of dracut's add up.
    early = Requirements(("rd.driver.pre=vfio-pci",))
    line = ("rd.driver.pre=vfio-pci", "rd.driver.pre=ahci")
    assert is_satisfied(line, early)


def test_a_correction_adds_nothing() -> None:
    assert correct_text("ro quiet", ON).text == "ro quiet"
    assert correct_text("iommu=off", ON).text == ""
    assert correct_text("a intel_iommu=off", ON).text == "a intel_iommu=on"


def test_what_is_missing() -> None:
    assert missing(("ro",), ON | IDS) == (
        "intel_iommu=on",
        "vfio-pci.ids=10de:1430,10de:0fba",
    )
    assert missing(("intel_iommu=on,off",), ON) == ()
    assert not is_satisfied(("intel_iommu=on,off",), ON)


def test_an_argument_without_a_value() -> None:
    required = Requirements(("intremap",), ("nointremap",))
    assert after("ro nointremap nointremap2 quiet", required) == (
        "ro nointremap2 quiet intremap"
    )


def test_the_difference_counts_words() -> None:
    due = difference(("a", "b", "b"), ("b", "c", "c"))
    assert due == Difference(("c", "c"), ("a", "b"))
    assert due
    assert due.inverse == Difference(("a", "b"), ("c", "c"))
    assert not difference(("a", "b"), ("b", "a"))
