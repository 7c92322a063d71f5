"""Laws of editing a kernel command line, for lines like those of hosts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats import (
    kernel_cmdline,
    kernel_cmdline_edit,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements

_FOREIGN = (
    "ro", "quiet", "rhgb", "root=/dev/sda1", 'foo="a b"', "iommu=pt",
    "console=tty0", "console=ttyS0,115200n8", "amd_iommu=on", "$tuned",
    "xintel_iommu=off", "rd.driver.post=nvidia", "intel_idle.states_off=1",
)  # fmt: skip
FOREIGN = st.sampled_from(_FOREIGN)
OURS = st.sampled_from(
    (
        "intel_iommu=on", "intel_iommu=off", "intel_iommu=off,sm_on",
        "intel_iommu=on,sm_on", "intel-iommu=off", "iommu=off",
        "iommu=force,off",
        "intel_opmmu=on", "vfio-pci.ids=10de:1430", "vfio_pci.ids=1002:67df",
        "vfio-pci.ids=", "vfoi-pci.ids=1:2", "rd.driver.pre=vfio-pci",
        "rd.driver.pre=ahci,vfio-pci", "rd.driverpre=vfio-pci",
        "intel_iommu", "intel_iommuu=on", "Intel_IOMMU=on", "iommu=1",
    )
)  # fmt: skip
LINES = st.builds(
    lambda ours, init: (*ours, *init),
    st.lists(st.one_of(FOREIGN, OURS), max_size=8),
    st.one_of(st.just(()), st.just(("--", "single", "intel_iommu=off"))),
)
WANTED = st.builds(
    Requirements,
    st.sampled_from(
        ((), ("intel_iommu=on",), ("intel_iommu=on", "rd.driver.pre=vfio-pci"))
    ),
    st.sampled_from(
        (
            (),
            ("intel_iommu=off", "iommu=off"),
            # What was wanted of a list before.
            ("vfio-pci.ids=10de:1430", "intel_iommu=off"),
            ("vfio-pci.ids=10de:1430,1002:67df",),
        )
    ),
    st.sampled_from(((), (("vfio-pci.ids", ("10de:1430", "10de:0fba")),))),
)
BLANKS = st.sampled_from((" ", "  ", "\t"))
ENDS = st.sampled_from(("", " ", "\n", "\r\n"))


def _kernels(line: tuple[str, ...]) -> tuple[str, ...]:
    return line[: line.index("--")] if "--" in line else line


@given(LINES, WANTED)
def test_what_is_edited_says_what_is_wanted(
    line: tuple[str, ...], wanted: Requirements
) -> None:
    assert kernel_cmdline.is_satisfied(
        kernel_cmdline_edit.edit_words(line, wanted).words, wanted
    )


@given(LINES, WANTED)
def test_editing_twice_is_editing_once(
    line: tuple[str, ...], wanted: Requirements
) -> None:
    once = kernel_cmdline_edit.edit_words(line, wanted).words
    assert kernel_cmdline_edit.edit_words(once, wanted).words == once


@given(LINES, WANTED)
def test_nothing_against_it_is_left(
    line: tuple[str, ...], wanted: Requirements
) -> None:
    for word in _kernels(kernel_cmdline_edit.edit_words(line, wanted).words):
        assert not kernel_cmdline.is_forbidden(
            kernel_cmdline.parse(word), wanted
        )


@given(LINES, WANTED)
def test_what_is_not_ours_stays_in_order(
    line: tuple[str, ...], wanted: Requirements
) -> None:
    foreign = set(_FOREIGN) | {"--", "single"}
    after = kernel_cmdline_edit.edit_words(line, wanted).words
    assert [w for w in after if w in foreign] == [
        w for w in line if w in foreign
    ]
    if "--" in line:
        assert after[after.index("--") :] == line[line.index("--") :]


@given(LINES, WANTED)
def test_no_wanted_word_is_added_twice(
    line: tuple[str, ...], wanted: Requirements
) -> None:
    after = _kernels(kernel_cmdline_edit.edit_words(line, wanted).words)
    for word in wanted.arguments:
        before = sum(w == word for w in _kernels(line))
        assert sum(w == word for w in after) <= max(1, before)


@given(LINES, WANTED, BLANKS, BLANKS, ENDS)
def test_text_is_edited_as_its_words_are(
    line: tuple[str, ...],
    wanted: Requirements,
    lead: str,
    blank: str,
    end: str,
) -> None:
    text = lead + blank.join(line) + end
    assert kernel_cmdline.split(text) == line
    found = kernel_cmdline_edit.edit_text(text, wanted)
    edited = kernel_cmdline_edit.edit_words(line, wanted)
    assert kernel_cmdline.split(found.text) == edited.words
    assert found.notes == edited.notes
    if edited.words == line:
        assert found.text == text
    assert found.text.endswith(end)
