from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import kernel_cmdline as words
from gpu_passthrough_plugin.model.arguments import Arguments

ON = Arguments(("intel_iommu=on",), ("intel_iommu=off", "iommu=off"))
IDS = Arguments(lists=(("vfio-pci.ids", ("10de:1430", "10de:0fba")),))


def after(text: str, wanted: Arguments = ON) -> str:
    """The text as it is rewritten; its words as they are edited."""
    rewritten = words.rewritten(text, wanted)
    edited = words.edited(words.split(text), wanted)
    assert words.split(rewritten.text) == edited.words
    assert rewritten.notes == edited.notes
    assert words.is_satisfied(edited.words, wanted)
    return rewritten.text


@pytest.mark.parametrize(
    ("text", "wanted"),
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
def test_words_are_put_right(text: str, wanted: str) -> None:
    assert after(text) == wanted


@pytest.mark.parametrize(
    ("typo", "said"),
    [
        ("intel_opmmu=on", "intel_iommu=on in its place"),
        ("intel_iomm=on", "intel_iommu=on in its place"),
        ("intel_iommmu=off", "intel_iommu=on in its place"),
        ("Intel_IOMMU=on", "intel_iommu=on in its place"),
    ],
)
def test_what_is_misspelt_is_named(typo: str, said: str) -> None:
    found = words.rewritten(f"ro {typo} quiet", ON)
    assert found.text == "ro intel_iommu=on quiet"
    (note,) = found.notes
    assert note.startswith(f"{typo} is nothing that the kernel knows")
    assert note.endswith(said)


def test_a_misspelt_one_beside_the_right_one_goes() -> None:
    found = words.rewritten("intel_opmmu=on intel_iommu=on", ON)
    assert found.text == "intel_iommu=on"
    assert "nothing in its place" in found.notes[0]


def test_a_misspelt_list_keeps_its_values() -> None:
    found = words.rewritten("vfoi-pci.ids=1002:67df", IDS)
    assert found.text == "vfio-pci.ids=1002:67df,10de:1430,10de:0fba"
    assert len(found.notes) == 1


@pytest.mark.parametrize(
    ("text", "wanted", "notes"),
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
def test_lists_are_one_word(text: str, wanted: str | None, notes: int) -> None:
    assert after(text, IDS) == (text if wanted is None else wanted)
    assert len(words.rewritten(text, IDS).notes) == notes


@pytest.mark.parametrize(
    ("text", "before", "wanted"),
    [
        # One more value, one less, others' values.
        ("vfio-pci.ids=1:1", "1:1", "vfio-pci.ids=1:1,2:2"),
        ("vfio-pci.ids=1:1,2:2,3:3", "1:1,3:3", "vfio-pci.ids=1:1,2:2"),
        ("vfio-pci.ids=9:9,3:3", "3:3", "vfio-pci.ids=9:9,1:1,2:2"),
    ],
)
def test_what_was_wanted_of_a_list_before(
    text: str, before: str, wanted: str
) -> None:
    now = Arguments(
        never=(f"vfio-pci.ids={before}",),
        lists=(("vfio-pci.ids", ("1:1", "2:2")),),
    )
    assert after(text, now) == wanted
    nothing = Arguments(never=(f"vfio-pci.ids={before}",))
    assert after(f"ro vfio-pci.ids={before}", nothing) == "ro"


def test_of_a_modules_parameters_the_last_one_counts() -> None:
    unsafe = "vfio_iommu_type1.allow_unsafe_interrupts"
    wanted = Arguments((f"{unsafe}=1",))
    assert not words.is_satisfied((f"{unsafe}=1", f"{unsafe}=0"), wanted)
    assert words.is_satisfied((f"{unsafe}=0", f"{unsafe}=1"), wanted)
    # Those of dracut's add up.
    early = Arguments(("rd.driver.pre=vfio-pci",))
    line = ("rd.driver.pre=vfio-pci", "rd.driver.pre=ahci")
    assert words.is_satisfied(line, early)


def test_nothing_is_added_by_a_correction() -> None:
    assert words.corrected("ro quiet", ON).text == "ro quiet"
    assert words.corrected("iommu=off", ON).text == ""
    assert words.corrected("a intel_iommu=off", ON).text == "a intel_iommu=on"


def test_what_is_missing() -> None:
    assert words.missing(("ro",), ON | IDS) == (
        "intel_iommu=on",
        "vfio-pci.ids=10de:1430,10de:0fba",
    )
    assert words.missing(("intel_iommu=on,off",), ON) == ()
    assert not words.is_satisfied(("intel_iommu=on,off",), ON)


def test_a_flag_is_a_word() -> None:
    wanted = Arguments(("intremap",), ("nointremap",))
    assert after("ro nointremap nointremap2 quiet", wanted) == (
        "ro nointremap2 quiet intremap"
    )
