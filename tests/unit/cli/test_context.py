from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.isolation import selection
from tests.trees.host import Host


@pytest.mark.parametrize("refuses", [True, False])
def test_the_policy_is_that_of_the_configuration(
    tmp_path: Path, *, refuses: bool
) -> None:
    path = tmp_path / "test.conf"
    path.write_text(
        "[discovery]\nselect = 10de:*\nexclude = 06:00.0\n"
        f"unisolated = {'refuse' if refuses else 'warn'}\n"
        "[allocation]\ntraits = 10de:1430=CUSTOM_GOLD\n"
    )
    policy = Context(str(tmp_path), None, [str(path)]).policy
    assert [s.text for s in policy.select] == ["10de:*"]
    assert [s.text for s in policy.exclude] == ["06:00.0"]
    assert [t.selector.text for t in policy.traits] == ["10de:1430"]
    assert policy.refuses_unisolated is refuses


def remembered(root: Path, text: str) -> None:
    file = root / selection.PATH[1:]
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_the_hosts_own_selection_overrides_the_configured_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "test.conf"
    path.write_text("[discovery]\nselect = 10de:*\nexclude = 06:00.0\n")
    remembered(tmp_path / "host", "[discovery]\nselect = 07:00.0, 1002:*\n")
    policy = Context(str(tmp_path / "host"), None, [str(path)]).policy
    assert [s.text for s in policy.select] == ["07:00.0", "1002:*"]
    assert [s.text for s in policy.exclude] == ["06:00.0"]


def test_a_malformed_selection_is_named_with_its_host(tmp_path: Path) -> None:
    remembered(tmp_path, "[discovery]\nselect = nvidia\n")
    path = tmp_path / "test.conf"
    path.write_text("")
    with pytest.raises(errors.Faults) as caught:
        _ = Context(str(tmp_path), None, [str(path)]).policy
    assert caught.value.faults[0].startswith(f"{tmp_path}: {selection.PATH}:2")


def test_another_hosts_report_has_its_own_selection(tmp_path: Path) -> None:
    path = tmp_path / "test.conf"
    path.write_text("")
    remembered(tmp_path, "[discovery]\nselect = 07:00.0\n")
    context = Context(str(tmp_path), None, [str(path)])
    other = Host()
    other.file(selection.PATH[1:], "[discovery]\nselect = 08:00.0\n")
    assert context.policy.select[0].text == "07:00.0"
    assert context.policy_of(other.tree()).select[0].text == "08:00.0"
