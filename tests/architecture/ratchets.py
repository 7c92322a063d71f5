"""Rules that the code does not keep everywhere yet: faults may only fall.

``ratchets.toml`` has a figure for each: how many faults there may be.  A
change that mends some lowers the figure:

    python -m tests.architecture.ratchets
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.architecture import grain, layering, mirror, naming

CHECKOUT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("ratchets.toml")

RULES: Mapping[str, Callable[[Path], list[str]]] = {
    "modules": grain.module_count,
    "small_modules": grain.too_small,
    "long_modules": grain.too_long,
    "long_test_modules": grain.tests_too_long,
    "empty_module_names": naming.empty_names,
    "untested_pure_modules": mirror.untested,
    "imports_past_contracts": layering.leaks,
    "stages_called_by_cli": layering.compositions,
}
_NAMES = "vague_names"
_HEAD = """\
# How many modules, faults and names there still are against the rules that
# tests/architecture tells.  No figure may rise.  To lower them:
#
#     python -m tests.architecture.ratchets

"""
_NOTES = {
    _NAMES: "# Parameters and locals that are named for nothing, by room.\n",
    "coverage": """\
# Percent of each pure room's lines that unit and property tests run.  No
# figure may fall; tests/architecture/room_coverage.py raises them.
""",
}


def measured(root: Path = CHECKOUT) -> dict[str, list[str]]:
    """Return the faults by rule; vague names by rule and room."""
    faults = {name: rule(root) for name, rule in RULES.items()}
    for room, lines in naming.vague_names(root).items():
        faults[f"{_NAMES}.{room}"] = lines
    return faults


def limits(text: str = "") -> dict[str, int]:
    """Return the figures by the same keys; a rule without one has none."""
    document = _read(text)
    return {
        **{name: document["faults"].get(name, 0) for name in RULES},
        **{f"{_NAMES}.{k}": v for k, v in document[_NAMES].items()},
    }


def floors(text: str = "") -> dict[str, int]:
    """Return how much of each pure room is covered at least, in percent."""
    return _read(text)["coverage"]


def _read(text: str) -> dict[str, dict[str, int]]:
    return tomllib.loads(text or FILE.read_text(encoding="utf-8"))


def over(faults: Mapping[str, list[str]], limits: Mapping[str, int]) -> str:
    """Return what is past its figure, with every fault; "" when nothing is."""
    return "\n".join(
        "\n".join(
            (
                f"{name}: {len(lines)}, may be {limits.get(name, 0)} at most",
                *lines,
            )
        )
        for name, lines in faults.items()
        if len(lines) > limits.get(name, 0)
    )


def lowered(
    faults: Mapping[str, list[str]], limits: Mapping[str, int]
) -> dict[str, int]:
    """Return the figures, each as low as the faults let it be."""
    return {
        name: min(limit, len(faults.get(name, ())))
        for name, limit in limits.items()
    }


def document(figures: Mapping[str, int], floors: Mapping[str, int]) -> str:
    """Return the text of ``ratchets.toml``."""
    rooms = {
        name.partition(".")[2]: figure
        for name, figure in figures.items()
        if name.startswith(f"{_NAMES}.") and figure
    }
    sections = {
        "faults": {name: figures[name] for name in RULES},
        _NAMES: dict(sorted(rooms.items())),
        "coverage": dict(sorted(floors.items())),
    }
    return _HEAD + "\n".join(
        f"{_NOTES.get(title, '')}[{title}]\n"
        + "".join(f"{name} = {figure}\n" for name, figure in section.items())
        for title, section in sections.items()
    )


def write(figures: Mapping[str, int], floors: Mapping[str, int]) -> None:
    """Write ``ratchets.toml``."""
    FILE.write_text(document(figures, floors), encoding="utf-8")


def main() -> None:
    """Lower every figure to what there is, and print what changed."""
    before = limits()
    now = lowered(measured(), before)
    for name, figure in now.items():
        if figure != before[name]:
            print(f"{name}: {before[name]} → {figure}")
    write(now, floors())


if __name__ == "__main__":
    main()
