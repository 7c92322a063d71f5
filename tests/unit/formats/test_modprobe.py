"""Expected values are what kmod 30 makes of the same files.

``tests/functional/test_kmod.py`` asks kmod again.
"""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import modprobe
from gpu_passthrough_plugin.formats.modprobe import (
    cmdline_options,
    configuration,
    directives,
    options,
    read_order,
)
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.diagnosis.build import found

VFIO = "vfio_pci"


def given(text: str) -> list[tuple[str, str | None]]:
    lines = directives("/etc/modprobe.d/x.conf", text)
    return [(o.name, o.value) for o in options(lines, VFIO)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("options vfio-pci ids=10de:1430,10de:0fba\n",
         [("ids", "10de:1430,10de:0fba")]),
        # A continued line is joined with nothing between.
        ("options vfio-pci ids=10de:1430,\\\n10de:0fba\n",
         [("ids", "10de:1430,10de:0fba")]),
        ("options vfio-pci \\\n  ids=1:2", [("ids", "1:2")]),
        ("# a comment \\\noptions vfio-pci ids=1:2\n", []),
        ("options vfio-pci x=a\\b", [("x", "ab")]),
        ("  \toptions \t vfio_pci   a=1   b  \n", [("a", "1"), ("b", None)]),
        # A name in quotes is another name.
        ('options "vfio-pci" ids=1:2', []),
        ('options vfio-pci ids="1:2,3:4"', [("ids", "1:2,3:4")]),
        # Only a line that begins with it is a comment.
        ("options vfio-pci # ids=1:2", [("#", None), ("ids", "1:2")]),
        ("options vfio-pci ids=1:2\r\n", [("ids", "1:2")]),
        ("Options vfio-pci ids=1:2", []),
        ("options nouveau ids=1:2", []),
        ("options vfio-pci", []),
        ("options", []),
    ],
)  # fmt: skip
def test_options_of_a_module(
    text: str, expected: list[tuple[str, str | None]]
) -> None:
    assert given(text) == expected


def test_a_directive_says_where_it_stands() -> None:
    text = "\n# x\nsoftdep nouveau pre: \\\n vfio-pci\n"
    (directive,) = directives("/etc/modprobe.d/x.conf", text)
    assert (directive.line, directive.command, directive.module) == (
        4,
        "softdep",
        "nouveau",
    )
    assert str(directive) == (
        "/etc/modprobe.d/x.conf:4: softdep nouveau pre: vfio-pci"
    )


@pytest.mark.parametrize(
    ("text", "remarks"),
    [("# a", []), (" # vfio-pci", [True]), ("vfio-pci # a", [False])],
)
def test_an_indented_comment_is_a_line_that_modprobe_ignores(
    text: str, remarks: list[bool]
) -> None:
    lines = list(directives("/etc/modprobe.d/x.conf", text))
    assert [line.is_remark for line in lines] == remarks
    assert not any(line.is_valid for line in lines)


@pytest.mark.parametrize(
    ("line", "is_valid"),
    [
        ("options vfio-pci a=1", True),
        ("options vfio-pci", False),
        ("blacklist nouveau", True),
        ("blacklist", False),
        ("install vfio-pci /bin/true", True),
        ("install vfio-pci", False),
        ("vfio-pci ids=1:2", False),
        ("Options vfio-pci a=1", False),
    ],
)
def test_what_modprobe_ignores_as_a_bad_line(
    line: str, is_valid: bool
) -> None:
    (directive,) = directives("/etc/modprobe.d/x.conf", line)
    assert directive.is_valid is is_valid


def test_hyphens_in_brackets_are_a_range() -> None:
    assert modprobe.normalise("snd-hda[a-c]-x") == "snd_hda[a-c]_x"


def test_a_file_hides_those_of_its_name_in_later_folders() -> None:
    files = {
        "/lib/modprobe.d/a.conf": "blacklist one",
        "/run/modprobe.d/a.conf": "blacklist two",
        "/lib/modprobe.d/b.conf": "blacklist three",
        "/etc/modprobe.d/c.conf.bak": "blacklist four",
        "/etc/modprobe.d/.d.conf": "blacklist five",
        "/etc/other/e.conf": "blacklist six",
    }
    assert read_order(files) == (
        "/run/modprobe.d/a.conf",
        "/lib/modprobe.d/b.conf",
    )
    lines = configuration(found(files))
    assert [line.module for line in lines] == ["two", "three"]


def test_a_file_that_cannot_be_read_hides_all_the_same() -> None:
    files = {
        "/etc/modprobe.d/a.conf": "",
        "/lib/modprobe.d/a.conf": "blacklist one",
    }
    host = found(files)
    lost = {
        **host.files,
        "/etc/modprobe.d/a.conf": Unknown(Why.UNREADABLE, ""),
    }
    host = host._replace(files=lost)
    assert list(configuration(host)) == []
    assert modprobe.unread(host) == ("/etc/modprobe.d/a.conf",)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["vfio-pci.ids=1:2"], [("ids", "1:2")]),
        (["vfio_pci.ids=1:2", "vfio-pci.ids=3:4"],
         [("ids", "1:2"), ("ids", "3:4")]),
        (["vfio-pci.disable_vga"], [("disable_vga", None)]),
        (['vfio-pci.ids="1:2"'], [("ids", "1:2")]),
        (['"vfio-pci.ids=1:2 b"'], [("ids", "1:2 b")]),
        # modprobe does not stop there.
        (["--", "vfio-pci.ids=1:2"], [("ids", "1:2")]),
        (['vfio-pci.ids="1:2'], []),
        (["vfio-pci-ids=1:2", "x=vfio-pci.ids=1:2", "vfio-pci=1"], []),
    ],
)  # fmt: skip
def test_options_on_the_command_line(
    words: list[str], expected: list[tuple[str, str | None]]
) -> None:
    assert [
        (o.name, o.value) for o in cmdline_options(words, VFIO)
    ] == expected


def test_the_kernel_uses_the_last_of_a_name() -> None:
    lines = directives("/a.conf", "options vfio-pci a=1 b=2\n")
    both = (*options(lines, VFIO), *cmdline_options(["vfio-pci.a=3"], VFIO))
    assert {n: o.value for n, o in modprobe.last_values(both).items()} == {
        "a": "3",
        "b": "2",
    }


@pytest.mark.parametrize(
    ("value", "is_true"),
    [
        (None, True), ("1", True), ("Y", True), ("yes", True), ("on", True),
        ("0", False), ("n", False), ("off", False), ("", False), ("2", False),
    ],
)  # fmt: skip
def test_what_is_true_to_the_kernel(value: str | None, is_true: bool) -> None:
    assert modprobe.Option("a", value, "").is_true is is_true


def test_the_command_line_decides_on_a_parameter() -> None:
    host = found({"/etc/modprobe.d/a.conf": "options vfio-pci a=1 b=2\n"})
    given = modprobe.parameters(host, ["vfio-pci.a=3"], VFIO)
    assert {name: o.value for name, o in given.items()} == {
        "a": "3",
        "b": "2",
    }


@pytest.mark.parametrize(
    ("words", "is_absolute"),
    [
        (["module_blacklist=nouveau,vfio-pci"], True),
        (["modprobe.blacklist=vfio_pci"], False),
        (['rd.driver.blacklist="nouveau,vfio-pci"'], False),
    ],
)
def test_what_blocks_a_module_on_the_command_line(
    words: list[str], is_absolute: bool
) -> None:
    expected = [modprobe.Block(f"/proc/cmdline: {words[0]}", is_absolute)]
    assert [*modprobe.blocks(found({}), ["quiet", *words], VFIO)] == expected
    assert [*modprobe.blocks(found({}), words, "vfio")] == []


@pytest.mark.parametrize(
    ("line", "is_absolute"),
    [
        ("blacklist vfio-pci", False),
        ("install vfio_pci /bin/false", True),
        ("install vfio_pci /usr/bin/true x", True),
        ("install vfio_pci /sbin/modprobe -i vfio-pci", None),
        ("remove vfio-pci /bin/false", None),
        ("blacklist vfio", None),
    ],
)
def test_what_blocks_a_module_in_a_file(
    line: str, is_absolute: bool | None
) -> None:
    path = "/etc/modprobe.d/a.conf"
    assert [*modprobe.blocks(found({path: line}), (), VFIO)] == [
        modprobe.Block(f"{path}:1: {line}", value)
        for value in (is_absolute,)
        if value is not None
    ]


@pytest.mark.parametrize(
    "name", ["nouveau", "snd-hda-intel", "i2c_i801", "8250_pci", "m" * 55]
)
def test_a_module_that_may_be_blacklisted(name: str) -> None:
    assert modprobe.blacklist_fault(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "nouveau\ninstall nvme /bin/true",
        "nouveau\n",
        "nouveau\\",
        "#nouveau",
        "nou.veau",
        "m\u00fcller",
        "m" * 56,
    ],
)
def test_no_name_of_a_module(name: str) -> None:
    assert "name of 1 to 55" in (modprobe.blacklist_fault(name) or "")


@pytest.mark.parametrize(
    "name",
    [
        "vfio",
        "vfio-pci",
        "vfio_pci",
        "vfio-pci-core",
        "vfio_iommu-type1",
        "vfio_virqfd",
        "irqbypass",
        "iommufd",
    ],
)
def test_what_vfio_needs_is_not_blacklisted(name: str) -> None:
    assert "VFIO" in (modprobe.blacklist_fault(name) or "")
