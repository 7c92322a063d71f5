"""GRUB's menu and environment block; tests/functional asks GRUB itself."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import grub_menu
from tests.trees import boot

OTHERS = (
    "### BEGIN /etc/grub.d/30_os-prober ###\n\tlinux /v root=/dev/sdb\n"
    "### END /etc/grub.d/30_os-prober ###\n"
)


@pytest.mark.parametrize("command", ["linux", "linux16", "linuxefi"])
def test_the_arguments_of_the_hosts_own_kernels(command: str) -> None:
    kernels = [("/vmlinuz-2", 'ro x="a b"'), ("/vmlinuz-1", "ro")]
    menu = boot.menu("Debian", kernels, command) + OTHERS
    entries = grub_menu.kernel_arguments("/g", menu)
    assert list(entries.values()) == [("ro", 'x="a b"'), ("ro",)]
    assert all(key.startswith("/g:") for key in entries)


def test_a_menu_that_is_written_by_hand_has_no_sections() -> None:
    menu = "menuentry A {\n  linux /v ro\n}\n"
    assert grub_menu.kernel_arguments("/g", menu) == {"/g:2": ("ro",)}


@pytest.mark.parametrize(
    ("text", "is_menu", "has_loader_entries"),
    [
        (boot.menu("D", [("/v", "")]), True, False),
        (boot.BLS_MENU, True, True),
        (boot.STUB, False, False),
        ("", False, False),
    ],
)
def test_a_stub_is_told_from_a_menu(
    text: str, is_menu: bool, has_loader_entries: bool
) -> None:
    assert grub_menu.is_menu(text) == is_menu
    assert grub_menu.has_loader_entries(text) == has_loader_entries


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("a=b\nc=d=e\n", {"a": "b", "c": "d=e"}),
        ("#a=b\nc=\n###", {"c": ""}),
        ("a=b\\\nc\\\\\n", {"a": "b\nc\\"}),
        ("a=b", {}),
        ("a=1\na=2\n", {"a": "2"}),
    ],
)
def test_an_environment_block(text: str, variables: dict[str, str]) -> None:
    block = f"# GRUB Environment Block\n{text}"
    assert grub_menu.environment(block) == variables
    assert grub_menu.environment(text) == {}
