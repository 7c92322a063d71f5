"""The host as a tree."""

from __future__ import annotations

from pathlib import Path

import pytest

import gpu_passthrough_plugin
from gpu_passthrough_plugin.cli import main
from gpu_passthrough_plugin.cli.topology import draw
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from tests.trees.seed import seed

PACKAGE = Path(gpu_passthrough_plugin.__file__).parent
RECORDING = PACKAGE / "data" / "seed.umockdev"


def test_the_seeds_second_socket() -> None:
    tree = seed().tree()
    snapshot = host_snapshot.read(tree, Policy((selector.parse("class=03*"),)))
    found = snapshot.groups()
    states = snapshot.selection_states(None)
    functions = sorted(
        (m.function for g in found for m in g.members),
        key=lambda f: f.address,
    )
    above = {f.address: discovery.bridges(tree, f) for f in functions}
    parents = {a: chain[-1] if chain else None for a, chain in above.items()}
    names = {f.address: "x" for f in functions}
    lines = list(draw(functions, parents, found, names, states))
    second = lines.index("NUMA node 1")
    assert lines[0] == "NUMA node 0"
    assert lines[second + 1 :] == [
        "├─ 0000:80:02.0 x (group 36)",
        "│  ├─ 0000:82:00.0 x (group 38, assignable, active)",
        "│  └─ 0000:82:00.1 x (group 38, assignable, active)",
        "└─ 0000:80:03.0 x (group 37)",
        "   ├─ 0000:83:00.0 x (group 39, assignable, active)",
        "   └─ 0000:83:00.1 x (group 39, assignable, active)",
    ]
    # Every function once.
    assert sum(" x (" in line for line in lines) == len(functions)


@pytest.mark.parametrize("suffix", ["svg", "html", "json"])
def test_a_recorded_host_is_drawn(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"host.{suffix}"
    words = ["--recording", str(RECORDING), "topology", "-o", str(path)]
    assert main.main(words) == 0
    text = path.read_text()
    assert "0000:82:00.0" in text and "Quadro M2000" in text
    assert path.stat().st_mode & 0o777 == 0o600
    # What is there is not replaced unless that is asked for.
    path.write_text("mine")
    assert main.main(words) == 2
    assert path.read_text() == "mine"
    assert main.main([*words, "--force"]) == 0
    assert path.read_text() == text
    out, err = capsys.readouterr()
    assert out == "" and str(path) in err


def test_a_picture_in_no_known_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "host.png"
    words = ["--recording", str(RECORDING), "topology", "-o", str(path)]
    assert main.main(words) == 2
    _, err = capsys.readouterr()
    assert err.count("\n") == 1 and ".svg, .html, .json" in err
    assert not path.exists()
