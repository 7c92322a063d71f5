"""What a host's selection file says, and when it says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.isolation import partition, selection
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.isolation.selection import Source
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from gpu_passthrough_plugin.model.selector import Enabled, Selector
from tests.golden import assert_golden
from tests.unit.isolation.values import GPUS, audio, function, gpu, port

CONFIGURED = (selector.parse("10de:*"),)


def read(
    contents: bytes | Unknown, *, is_set: bool = True
) -> tuple[list[str], Source]:
    found = selection.chosen(
        contents, selection.PATH, CONFIGURED, is_configured=is_set
    )
    return [s.text for s in found.selectors], found.source


def test_the_hosts_file_replaces_what_is_configured() -> None:
    text = b"# mine\n[discovery]\nselect = 0000:06:00.0,\n  class=0302,\n"
    assert read(text) == (["0000:06:00.0", "class=0302"], Source.FILE)
    assert read(b"[discovery]\nselect =\n") == ([], Source.FILE)


@pytest.mark.parametrize("contents", [MISSING, b"", b"# nothing\n[discovery]"])
def test_without_a_selection_of_its_own_it_is_the_configured_one(
    contents: bytes | Unknown,
) -> None:
    assert read(contents) == (["10de:*"], Source.CONFIGURATION)
    assert read(contents, is_set=False) == (["10de:*"], Source.DEFAULT)


FAULTS: dict[str, bytes] = {
    "another option": b"[discovery]\nselect = 10de:*\nexclude = 06:00.0\n",
    "another group": b"[pci]\nalias = x\n",
    "no selector": b"[discovery]\nselect = 10de:*, nvidia, \n",
    "twice": b"[discovery]\nselect = 10de:*\nselect = 1002:*\n",
    "no group": b"select = 10de:*\n",
    "no text": b"\xff\xfe",
    "no INI": b"[[[\nfoo\n",
    "empty selector": b"[discovery]\nselect = 10de:*,,1002:*\n",
    "large": b"#" * (selection.MAX_BYTES + 1),
    "many": b"[discovery]\nselect = " + b"10de:*," * 1025,
}


def test_faults() -> None:
    """Each line names the file; nothing is half read."""
    said = []
    for name, contents in FAULTS.items():
        with pytest.raises(errors.Faults) as caught:
            read(contents)
        assert all(
            f.startswith(f"{selection.PATH}:") and "\n" not in f
            for f in caught.value.faults
        )
        said += [f"[{name}]", *caught.value.faults]
    with pytest.raises(errors.ReadFailed) as unread:
        read(Unknown(Why.UNREADABLE, "Permission denied"))
    said += ["[unreadable]", str(unread.value)]
    text = "\n".join(said) + "\n"
    assert_golden(Path(__file__).with_name("selection.txt"), text)


def texts(selectors: Sequence[Selector]) -> list[str]:
    return [s.text for s in selectors]


def parsed(*selectors: str) -> tuple[Selector, ...]:
    return tuple(map(selector.parse, selectors))


KEPT = b"""\
# mine
[Discovery]
; two lines
select: 06:00.0,
\t07:00.0

# end
"""


def test_only_the_selectors_are_written_anew() -> None:
    written = selection.written(KEPT, parsed("class=03", "10de:*"))
    assert written == KEPT.replace(
        b"select: 06:00.0,\n\t07:00.0", b"select = class=03,\n    10de:*"
    )
    assert selection.written(KEPT, parsed("06:00.0", "07:00.0")) == KEPT


@pytest.mark.parametrize(
    "contents",
    [None, b"", b"\n", b"# mine", b"[discovery]\r\n# mine\r\n", KEPT],
)
@pytest.mark.parametrize("chosen", [("06:00.0",), ("10de:*", "class=03*")])
def test_what_is_written_is_read_back(
    contents: bytes | None, chosen: tuple[str, ...]
) -> None:
    written = selection.written(contents, parsed(*chosen))
    assert selection.parse(written) == parsed(*chosen)
    if contents and b"mine" in contents:
        assert b"# mine" in written
    assert selection.written(written, parsed(*chosen)) == written


def test_a_file_can_be_too_large_to_be_written() -> None:
    many = tuple(
        selector.parse(f"{bus:02x}:{slot:02x}.0")
        for bus in range(33)
        for slot in range(32)
    )
    with pytest.raises(errors.Faults, match="1056 selectors"):
        selection.written(None, many)
    # The sections of others go on below the selection.
    with pytest.raises(errors.Faults, match="larger"):
        selection.written(b"#" * selection.MAX_BYTES, parsed("06:00.0"))


FUNCTIONS = (
    gpu(),
    audio(),
    gpu("07:00.0"),
    function("08:00.0", "144d:a808", 0x010802),
    port(),
)


def amended(
    base: tuple[str, ...],
    added: tuple[str, ...] = (),
    removed: tuple[str, ...] = (),
) -> list[str]:
    result = selection.amended(
        parsed(*base), parsed(*added), parsed(*removed), FUNCTIONS
    )
    return texts(result.selectors)


def test_adding() -> None:
    assert amended(("10de:*",), ("07:00.0",)) == ["10de:*", "07:00.0"]
    same = ("0000:06:00.0", "class=03")
    assert amended(same, ("06:00.0", "CLASS=03", "class=03*")) == [*same]


@pytest.mark.parametrize(
    ("base", "removed", "left"),
    [
        (("06:00.0", "07:00.0"), ("0000:07:00.0",), ["06:00.0"]),
        (("class=03",), ("07:00",), ["0000:06:00.0"]),
        (("class=03", "06:00.0"), ("class=03",), "host disable"),
        (("class=03", "144d:*"), ("class=03",), ["144d:*"]),
        (("class=03", "10de:*"), ("07:00.0",),
         ["0000:06:00.0", "0000:06:00.1"]),
        (("0f:00.0", "06:00.0"), ("0f:00.0",), ["06:00.0"]),
        (("06:00.0",), ("07:00.0",), "0000:06:00.0|06:00.0"),
        (("06:00.0",), ("06:00.1",), "--deselect 06:00.1"),
        (("06:00.0", "class=12*"), ("06:00.0",), "host disable"),
        ((), ("06:00.0",), "no functions"),
    ],
)  # fmt: skip
def test_removing(
    base: tuple[str, ...], removed: tuple[str, ...], left: list[str] | str
) -> None:
    if isinstance(left, list):
        assert amended(base, (), removed) == left
        return
    with pytest.raises(errors.Refused, match=left):
        amended(base, (), removed)


def test_a_selector_that_is_replaced_is_told() -> None:
    result = selection.amended(
        parsed("class=03"), (), parsed("07:00.0"), FUNCTIONS
    )
    (note,) = result.notes
    assert note.startswith("class=03 ")
    assert "0000:06:00.0" in note


def test_a_card_is_exchanged() -> None:
    assert amended(("06:00.0",), ("07:00.0",), ("06:00.0",)) == ["07:00.0"]


def test_what_matches_nothing_now() -> None:
    selectors = parsed("06:00.0", "0f:00.0", "1002:*", "class=12")
    assert texts(selection.unmatched(selectors, FUNCTIONS)) == [
        "0f:00.0", "1002:*"
    ]  # fmt: skip


A = gpu().address
UNREAD = Unknown(Why.UNREADABLE, "Permission denied")


def on(address: Address, *, is_this_boot: bool | None) -> Enabled:
    return Enabled(frozenset({address}), is_this_boot)


@pytest.mark.parametrize(
    ("selected", "enabled", "is_on_vfio", "state"),
    [
        (False, on(A, is_this_boot=True), True, "not selected"),
        (True, None, False, "selected"),
        (True, on(audio().address, is_this_boot=True), False, "selected"),
        (True, None, True, "active"),
        (True, on(A, is_this_boot=True), False, "enabled after reboot"),
        (True, on(A, is_this_boot=False), False, "enabled, not bound"),
        (True, on(A, is_this_boot=True), True, "active"),
        # What is not known is not said.
        (True, on(A, is_this_boot=None), False, "selected"),
        (True, on(A, is_this_boot=True), UNREAD, "selected"),
    ],
)
def test_how_far_a_function_is(
    selected: bool,
    enabled: Enabled | None,
    is_on_vfio: bool | Unknown,
    state: str,
) -> None:
    chosen = frozenset({A} if selected else ())
    assert selection.state(A, chosen, enabled, is_on_vfio) == state


def chosen(*functions: Function, policy: Policy = GPUS) -> list[str]:
    parts = partition.parts(functions, policy)
    selected = selection.selected_addresses(parts, policy)
    return sorted(map(str, selected))


def test_what_goes_along_with_a_selected_function() -> None:
    disk = function("08:00.0", "144d:a808", 0x010802)
    both = ["0000:06:00.0", "0000:06:00.1"]
    assert chosen(gpu(), audio(), disk, port()) == both
    # Before the IOMMU is on, a card is what will be a group.
    alone = [gpu(iommu_group=None), audio(iommu_group=None)]
    assert chosen(*alone) == both
    kept = GPUS._replace(exclude=parsed("06:00.1"))
    assert chosen(gpu(), audio(), policy=kept) == both[:1]
