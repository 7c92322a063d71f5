"""Text as traits: Placement takes only ``[A-Z0-9_]``, and 255 of them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

from gpu_passthrough_plugin.allocation.placement.names import FACT

# Of base32's letters, with room for what stands before them.
_CHUNK = 200


def traits(kind: str, texts: Iterable[str]) -> frozenset[str]:
    """Traits that together say ``texts``, each of them in pieces.

    ``CUSTOM_GPUPT_<kind>_<which text>_<which piece>_<base32>``
    """
    return frozenset(
        f"{FACT}{kind}_{number}_{piece}_{letters}"
        for number, text in enumerate(sorted(texts))
        for piece, letters in enumerate(_pieces(text))
    )


def _pieces(text: str) -> Iterator[str]:
    letters = base64.b32encode(text.encode()).decode().rstrip("=")
    for start in range(0, len(letters), _CHUNK):
        yield letters[start : start + _CHUNK]


def texts(kind: str, found: Iterable[str]) -> tuple[str, ...]:
    """What traits of that kind say; empty texts are not kept."""
    pieces: dict[int, dict[int, str]] = {}
    begin = f"{FACT}{kind}_"
    for trait in found:
        if trait.startswith(begin):
            number, piece, letters = trait.removeprefix(begin).split("_")
            pieces.setdefault(int(number), {})[int(piece)] = letters
    return tuple(
        _text("".join(letters for _, letters in sorted(found.items())))
        for _, found in sorted(pieces.items())
    )


def _text(letters: str) -> str:
    padding = "=" * (-len(letters) % 8)
    return base64.b32decode(letters + padding).decode(errors="replace")
