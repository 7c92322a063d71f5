"""Expected values are what a Linux kernel handed to its init program.

``tests/functional/test_kernel_cmdline_lab.py`` asks a kernel again.
"""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import kernel_cmdline
from gpu_passthrough_plugin.formats.kernel_cmdline import (
    Argument,
    arguments,
    contains,
    insertion_index,
    intended_name,
    kernel_words,
    parse,
    split,
)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        (" ro  quiet\n", ["ro", "quiet"]),
        ("ro\tquiet\vx\fy\rz", ["ro", "quiet", "x", "y", "z"]),
        ("ro\xa0quiet\udca0x", ["ro", "quiet", "x"]),
        # Blanks of other scripts are no blanks to the kernel.
        ("a\u2003b", ["a\u2003b"]),
        ('a="b c" d', ['a="b c"', "d"]),
        ('"a=b c" d', ['"a=b c"', "d"]),
        ("a='b c' d", ["a='b", "c'", "d"]),
        ('a=b"c d"e f', ['a=b"c d"e', "f"]),
        ('a="b c -- d', ['a="b c -- d']),
        (
            'dyndbg="file foo.c iommu=off +p" intel_iommu=on',
            ['dyndbg="file foo.c iommu=off +p"', "intel_iommu=on"],
        ),
        ('x="a b -- c" intel_iommu=on', ['x="a b -- c"', "intel_iommu=on"]),
    ],
)
def test_a_line_is_split_as_the_kernel_splits_it(
    line: str, words: list[str]
) -> None:
    assert list(split(line)) == words


@pytest.mark.parametrize(
    ("word", "argument"),
    [
        ("quiet", Argument("quiet", "quiet", None)),
        ("a=", Argument("a", "a", ("",))),
        ("a-b=c,d", Argument("a_b", "a-b", ("c", "d"))),
        ('a="b c"', Argument("a", "a", ("b c",))),
        ('"a=b c"', Argument("a", "a", ("b c",))),
        ('"a b"', Argument("a b", "a b", None)),
        ('a=b"c d"e', Argument("a", "a", ('b"c d"e',))),
        ('a"b"=c', Argument('a"b"', 'a"b"', ("c",))),
        ("=a", Argument("=a", "=a", None)),
        ('"="', Argument("=", "=", None)),
        ("==a", Argument("=", "=", ("a",))),
        ("a=b=c", Argument("a", "a", ("b=c",))),
        ('a="b c', Argument("a", "a", ("b c",))),
    ],
)
def test_a_word_is_parsed_as_the_kernel_parses_it(
    word: str, argument: Argument
) -> None:
    assert parse(word) == argument


def test_the_kernel_stops_at_two_hyphens() -> None:
    words = split('ro x="a -- b" -- intel_iommu=on')
    assert [a.name for a in arguments(words)] == ["ro", "x"]
    assert kernel_words(("ro", '"--"', "x")) == ("ro",)
    assert insertion_index(("ro", 'a="b', "--")) == 1
    assert insertion_index(("ro", "--", "x")) == 1
    assert insertion_index(("ro",)) == 1


@pytest.mark.parametrize(
    ("line", "argument", "is_contained"),
    [
        ("quiet iommu=pt", "iommu=pt", True),
        ("xiommu=pt", "iommu=pt", False),
        ("iommu=pt,memaper", "iommu=pt", True),
        ("iommu=off", "iommu=pt", False),
        ("intel-iommu=on", "intel_iommu=on", True),
        ("intel_iommu", "intel_iommu=on", False),
        ("Intel_IOMMU=on", "intel_iommu=on", False),
        ("rd.driver.pre=a rd.driver.pre=vfio-pci b", "rd.driver.pre=a", True),
        ("modprobe.blacklist=a modprobe.blacklist=b",
         "modprobe.blacklist=a", True),
        # Of a module's parameter the last one counts.
        ("vfio-pci.ids=1:2,3:4", "vfio_pci.ids=3:4,1:2", True),
        ("vfio-pci.ids=1:2 vfio-pci.ids=3:4", "vfio-pci.ids=1:2", False),
        ("quiet -- iommu=pt", "iommu=pt", False),
        ('"intel_iommu=on"', "intel_iommu=on", True),
        ('dyndbg="file foo.c iommu=off +p"', "iommu=off", False),
        ('x="a b -- c" intel_iommu=on', "intel_iommu=on", True),
        ('a="b intel_iommu=on', "intel_iommu=on", False),
        ("nomodeset", "nomodeset", True),
    ],
)  # fmt: skip
def test_what_a_line_contains(
    line: str, argument: str, is_contained: bool
) -> None:
    assert contains(split(line), argument) is is_contained


@pytest.mark.parametrize(
    ("name", "intended"),
    [
        ("intel_opmmu", "intel_iommu"),
        ("intel_iommuu", "intel_iommu"),
        ("Intel_IOMMU", "intel_iommu"),
        ("intl_iomu", "intel_iommu"),
        ("vfoi_pci.ids", "vfio_pci.ids"),
        ("vfio_pci_ids", "vfio_pci.ids"),
        # Put out of use on purpose.
        ("xintel_iommu", None),
        ("_intel_iommu", None),
        # Right, or the kernel's own.
        ("intel_iommu", None),
        ("amd_iommu", None),
        ("iommu", None),
        ("intel_pstate", None),
        ("intel_idle.max_cstate", None),
        ("rd.driver.post", None),
    ],
)
def test_which_name_a_misspelt_one_was_meant_to_be(
    name: str, intended: str | None
) -> None:
    names = ("intel_iommu", "vfio_pci.ids", "rd.driver.pre")
    assert intended_name(name, names) == intended


def test_values_required_of_a_list_are_not_forbidden_by_an_older_one() -> None:
    requirements = kernel_cmdline.Requirements(
        forbidden=("vfio-pci.ids=1:1,3:3",),
        lists=(("vfio-pci.ids", ("1:1", "2:2")),),
    )
    (only,) = kernel_cmdline.forbidden(requirements)
    assert only.values == ("3:3",)
