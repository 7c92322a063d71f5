"""The sample is what the options say today, on any machine."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from oslo_config import cfg, generator

from gpu_passthrough_plugin import conf

CHECKOUT = Path(__file__).parents[3]
SAMPLE = CHECKOUT / "etc/gpu-passthrough/gpu-passthrough.conf.sample"
GENERATOR = CHECKOUT / "etc/oslo-config-generator/gpu-passthrough.conf"


def generated() -> str:
    options = cfg.ConfigOpts()
    generator.register_cli_opts(options)
    options(["--config-file", str(GENERATOR)], default_config_dirs=[])
    into = io.StringIO()
    generator.generate(options, into)
    return into.getvalue()


def test_the_sample_is_current() -> None:
    assert SAMPLE.read_text(encoding="utf-8") == generated(), (
        "run oslo-config-generator --config-file"
        " etc/oslo-config-generator/gpu-passthrough.conf"
    )


def test_the_sample_does_not_depend_on_this_machine() -> None:
    assert f"host = {os.uname().nodename}\n" not in SAMPLE.read_text()


def test_the_sample_is_a_configuration(
    tmp_path: Path,
) -> None:
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    text = "\n".join(
        line.removeprefix("#")
        for line in lines
        if line.startswith("[") or (line[:1] == "#" and " = " in line[:20])
    )
    path = tmp_path / "test.conf"
    path.write_text(text, encoding="utf-8")
    settings = conf.load([str(path)])
    assert sorted(settings.pci.aliases) == ["gpu"]


@pytest.mark.parametrize("group", dict(conf.list_opts()))
def test_every_option_is_explained(group: str) -> None:
    for option in dict(conf.list_opts())[group]:
        assert option.help is not None
        assert len(option.help.split()) > 10
        assert max(map(len, option.help.splitlines())) <= 77
