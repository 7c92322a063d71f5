"""What ``hook release`` takes for a number of seconds."""

from __future__ import annotations

import argparse

import pytest

from gpu_passthrough_plugin.cli import hook


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("600", 600)])
def test_seconds(text: str, value: float) -> None:
    assert hook.seconds(text) == value


@pytest.mark.parametrize("text", ["nan", "-1", "inf", "1e999", "soon", ""])
def test_no_seconds(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="0 or more"):
        hook.seconds(text)
