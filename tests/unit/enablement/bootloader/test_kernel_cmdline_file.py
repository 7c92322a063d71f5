"""/etc/kernel/cmdline: which words it has, and how it is edited."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader import kernel_cmdline_file
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Action
from gpu_passthrough_plugin.model.installation import Installation
from tests.unit.enablement.values import installed

ON = Requirements(("intel_iommu=on",), ("intel_iommu=off", "iommu=off"))


def having(text: str) -> Installation:
    return installed({kernel_cmdline_file.PATH: text})


@pytest.mark.parametrize(
    ("text", "words", "words_of_first_line"),
    [
        ("", (), ()),
        ("root=x ro\n", ("root=x", "ro"), ("root=x", "ro")),
        ("root=x\nquiet", ("root=x", "quiet"), ("root=x",)),
        ("# note\nroot=x\n", ("root=x",), ()),
        ('a="b c"\n', ('a="b c"',), ('a="b c"',)),
    ],
)
def test_words(
    text: str, words: tuple[str, ...], words_of_first_line: tuple[str, ...]
) -> None:
    installation = having(text)
    assert kernel_cmdline_file.arguments(installation) == words
    first = kernel_cmdline_file.arguments(
        installation, is_first_line_only=True
    )
    assert first == words_of_first_line


def test_without_a_file_there_are_no_words() -> None:
    assert kernel_cmdline_file.arguments(installed()) == ()


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("", "intel_iommu=on"),
        ("root=x ro", "root=x ro intel_iommu=on"),
        ("root=x ro\n", "root=x ro intel_iommu=on\n"),
        ("root=x ro\r\n", "root=x ro intel_iommu=on\r\n"),
        ("root=x intel_iommu=off ro\n", "root=x intel_iommu=on ro\n"),
        ("# note\nroot=x\n", "# note\nroot=x intel_iommu=on\n"),
        ("root=x\nquiet iommu=off\n", "root=x intel_iommu=on\nquiet\n"),
    ],
)
def test_every_line_is_corrected_and_the_first_completed(
    text: str, edited: str
) -> None:
    change = kernel_cmdline_file.edit(having(text), ON).change
    assert change.path == "/etc/kernel/cmdline"
    assert change.becomes == edited.encode()
    again = kernel_cmdline_file.edit(having(edited), ON).change
    assert again.action is Action.KEEP


def test_lines_after_the_first_stay_where_only_that_is_read() -> None:
    change = kernel_cmdline_file.edit(
        having("root=x\nintel_iommu=on iommu=off\n"),
        ON,
        is_first_line_only=True,
    ).change
    assert change.becomes == (
        b"root=x intel_iommu=on\nintel_iommu=on iommu=off\n"
    )


def test_a_misspelt_argument_is_corrected_with_one_note() -> None:
    edited = kernel_cmdline_file.edit(
        having("intel_opmmu=on\nintel_opmmu=on\n"), ON
    )
    assert edited.change.becomes == b"intel_iommu=on\nintel_iommu=on\n"
    (note,) = edited.notes
    assert note.startswith("intel_opmmu=on ")


def test_without_a_file_an_edit_is_refused() -> None:
    with pytest.raises(errors.Refused, match=r"^/etc/kernel/cmdline "):
        kernel_cmdline_file.edit(installed(), ON)
