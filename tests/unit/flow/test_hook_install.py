"""Whether what an installed hook runs is still fit for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.hook import script
from gpu_passthrough_plugin.flow import hook_install
from gpu_passthrough_plugin.host.files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "etc/libvirt").mkdir(parents=True)
    return Files(str(tmp_path))


def install(files: Files, python: str, entry: str) -> None:
    program = script.Program(python, entry, ("--config-file", "/etc/a b"))
    change = hook_install.plan_install(files, program, None)
    hook_install.apply(files, change)


@pytest.mark.parametrize(
    "paths", [("/p/python3", "/p/entry.py"), ("/it's a/b", "/c d/e=f")]
)
def test_what_an_installed_hook_runs(paths: tuple[str, str]) -> None:
    program = script.Program(*paths, ("--root", "PYTHON=/x"))
    assert script.program_in(script.script(program)) == paths


def test_a_hook_that_is_not_there_or_not_ours(files: Files) -> None:
    assert not hook_install.is_installed(files)
    install(files, "/p/python3", "/p/a/entry.py")
    assert hook_install.is_installed(files)
    text = files.read(script.PATH)
    assert text is not None
    files.put(script.PATH, text + b"#")
    assert hook_install.is_installed(files)
    with pytest.raises(errors.Refused, match=r"was edited"):
        hook_install.check(files)


def test_what_only_root_sees(files: Files, tmp_path: Path) -> None:
    path = Path(f"{tmp_path}{script.PATH}")
    path.mkdir(parents=True)
    assert not hook_install.is_installed(files)


def test_what_it_runs_is_examined(files: Files, tmp_path: Path) -> None:
    entry = tmp_path / "p/cli/entry.py"
    python = tmp_path / "bin/python3"
    install(files, str(python), str(entry))
    with pytest.raises(errors.Refused, match=f"{python}.* is gone"):
        hook_install.check(files)
    python.parent.mkdir()
    python.touch()
    with pytest.raises(errors.Refused, match=f"{entry}.* is gone"):
        hook_install.check(files)
    entry.parent.mkdir(parents=True)
    entry.touch()
    python.chmod(0o777)
    with pytest.raises(errors.Refused, match=str(python)):
        hook_install.check(files)
