"""What a host's operator selects is remembered, and taken back."""

from __future__ import annotations

import functools
import itertools
import shutil
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import enablement
from gpu_passthrough_plugin.flow.enablement import EnableOptions
from gpu_passthrough_plugin.isolation import selection
from gpu_passthrough_plugin.model.change import Action, is_change
from tests.functional.bootable import killed_at
from tests.functional.test_enable_flow import Debian, written
from tests.trees import hosts
from tests.trees.systems import SYSTEMS

FILE = selection.PATH[1:]
FIRST, SECOND, THIRD = "0000:04:00.0", "0000:05:00.0", "0000:06:00.0"
BMC = "0000:03:00.0"
# What is written next.
NEXT = "etc/modules-load.d/gpu-passthrough.conf"


def debian(folder: Path) -> Debian:
    """A host with three cards, and its own display."""
    host = SYSTEMS["debian12"]()
    for number in (5, 6):
        hosts.port(
            host, f"0000:00:0{number}.0", f"0000:0{number}", None, "8086"
        )
        hosts.card(host, f"0000:0{number}", f"0000:00:0{number}.0", None)
    return written(host, folder)


@pytest.fixture
def host(tmp_path: Path) -> Debian:
    return debian(tmp_path)


def enable(
    host: Debian,
    *select: str,
    deselect: tuple[str, ...] = (),
    is_only: bool = False,
) -> set[str]:
    options = EnableOptions(select, deselect=deselect, is_only=is_only)
    return {str(action) for action in host.enable(options)}


def selected(host: Debian) -> list[str]:
    selectors = selection.parse(host.text(FILE).encode())
    return [s.text for s in selectors or ()]


def bound(host: Debian) -> list[str]:
    """The functions that are bound at boot, as the journal has them."""
    history = host.context.applier and host.context.applier.history()
    assert history
    return [str(t.address) for t in history.enablement.targets if t.is_primary]


def test_one_is_added_to_another(host: Debian) -> None:
    before = host.files()
    enable(host, FIRST)
    assert (selected(host), bound(host)) == ([FIRST], [FIRST])
    assert enable(host) == {Action.KEEP}
    enable(host, SECOND)
    assert bound(host) == [FIRST, SECOND]
    assert selected(host) == [FIRST, SECOND]
    said = "\n".join(host.said)
    assert f"newly bound to vfio-pci from the next boot on: {SECOND}" in said
    enable(host, THIRD, is_only=True)
    assert (selected(host), bound(host)) == ([THIRD], [THIRD])
    assert any("no longer bound" in ln and FIRST in ln for ln in host.said)
    host.disable()
    assert host.files() == before


def test_a_plain_call_remembers_nothing(host: Debian) -> None:
    enable(host)
    assert bound(host) == [FIRST, SECOND, THIRD]
    assert not (host.root / FILE).exists()


def test_a_card_is_taken_out(host: Debian) -> None:
    """A class becomes the addresses of all others, whatever they are."""
    enable(host)
    enable(host, deselect=(SECOND,))
    assert selected(host) == [BMC, FIRST, THIRD]
    assert bound(host) == [FIRST, THIRD]
    enable(host, deselect=("0000:04:00",))
    assert (selected(host), bound(host)) == ([BMC, THIRD], [THIRD])
    with pytest.raises(errors.Refused, match=FIRST):
        enable(host, deselect=(FIRST,))
    with pytest.raises(errors.Refused, match="host disable"):
        enable(host, deselect=("class=03",))
    assert selected(host) == [BMC, THIRD]


def test_what_is_configured_is_added_to(host: Debian) -> None:
    host.is_configured = True
    enable(host, FIRST)
    assert selected(host) == ["class=03*", FIRST]
    assert bound(host) == [FIRST, SECOND, THIRD]


def test_cards_that_were_enabled_by_default_stay(host: Debian) -> None:
    enable(host)
    enable(host, FIRST)
    assert bound(host) == [FIRST, SECOND, THIRD]


def test_a_new_selector_has_to_match(host: Debian) -> None:
    enable(host, FIRST)
    for wrong in ("0000:7f:00.0", BMC):
        with pytest.raises(errors.Refused, match=wrong):
            enable(host, wrong)
    assert selected(host) == [FIRST]


def test_a_remembered_selector_without_a_card_is_told(host: Debian) -> None:
    enable(host, FIRST)
    host.put(FILE, f"[discovery]\nselect = {FIRST}, 0000:7f:00.0, class=12*\n")
    enable(host)
    told = [line for line in host.said if "selects no function" in line]
    assert len(told) == 1
    assert told[0].startswith("0000:7f:00.0 in /etc/gpu-passthrough/")


def test_only_the_selection_changes(host: Debian) -> None:
    """The boot is what it was, and so is the boot that counts."""
    enable(host, FIRST)
    enable(host, "10de:24b0")
    plan = enablement.plan_enable(
        host.context, EnableOptions(select=("class=0300",))
    )
    changed = [c.target for c in plan.changes if is_change(c)]
    assert changed == [selection.PATH]
    host.put("proc/sys/kernel/random/boot_id", "second\n")
    assert enable(host, "class=0300") == {Action.CHANGE, Action.KEEP}
    assert selected(host) == [FIRST, "10de:24b0", "class=0300"]
    assert bound(host) == [FIRST, SECOND, THIRD]
    assert host.boot_id() == "first"
    assert "reboot" not in host.said[-1]


EDITED = f"# mine\n[discovery]\n# The first.\nselect = {FIRST}\n# end\n"


def test_an_operators_file_gets_back_what_it_was(host: Debian) -> None:
    (host.root / FILE).parent.mkdir()
    host.put(FILE, EDITED)
    before = host.files()
    enable(host)
    assert bound(host) == [FIRST]
    enable(host, SECOND)
    assert selected(host) == [FIRST, SECOND]
    for line in ("# mine", "# The first.", "# end"):
        assert line in host.text(FILE)
    host.disable()
    assert host.files() == before


@pytest.mark.parametrize("is_seen", [True, False])
def test_an_edit_is_never_lost(host: Debian, *, is_seen: bool) -> None:
    enable(host, FIRST)
    text = host.text(FILE).replace(FIRST, f"{FIRST}, {THIRD}")
    host.put(FILE, text)
    if is_seen:
        enable(host)
        assert bound(host) == [FIRST, THIRD]
    host.disable()
    assert host.text(FILE) == text
    assert any(
        line.startswith(selection.PATH) and "kept" in line
        for line in host.said
    )


def test_a_selector_is_added_to_an_edit(host: Debian) -> None:
    enable(host, FIRST)
    text = host.text(FILE).replace(FIRST, f"{FIRST},\n\t{THIRD}")
    host.put(FILE, text)
    enable(host, SECOND)
    assert selected(host) == [FIRST, THIRD, SECOND]
    host.disable()
    assert host.text(FILE) == text


def test_a_removed_file_is_forgotten(host: Debian) -> None:
    before = host.files()
    enable(host, FIRST)
    (host.root / FILE).unlink()
    enable(host)
    assert bound(host) == [FIRST, SECOND, THIRD]
    host.disable()
    assert host.files() == before


def test_killed_at_any_instant(tmp_path: Path) -> None:
    """The same call completes, a plain one goes on, and both are undone.

    Later acts are those of test_changes_killed.
    """
    fresh = debian(tmp_path / "fresh").files()
    for number in itertools.count(1):
        host = debian(tmp_path / str(number))
        assert killed_at(number, functools.partial(enable, host, FIRST))
        if (host.root / NEXT).exists():
            assert number > 20
            return
        if number % 3 == 0 and (host.root / FILE).exists():
            enable(host)
        elif number % 3 != 1:
            enable(host, FIRST)
        if number % 3 != 1:
            assert (selected(host), bound(host)) == ([FIRST], [FIRST])
        host.disable()
        assert host.files() == fresh
        shutil.rmtree(tmp_path / str(number))
