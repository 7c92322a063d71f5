from __future__ import annotations

import contextlib
import tempfile

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import report_archive

WHOLE = report_archive.written(
    {name: name.encode() * 9 for name in report_archive.NAMES}
)
ARCHIVE = zstandard.ZstdDecompressor().decompress(WHOLE)
# Text that is none of what is left out.
PARTS = st.dictionaries(
    st.sampled_from(report_archive.NAMES),
    st.text("vfio 7\n\u2026\x00").map(str.encode),
)


def read(data: bytes) -> None:
    """A fault ends in our own error, and in no other."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(errors.Invalid):
            report_archive.read(file.name)


@given(PARTS)
def test_reading_is_the_inverse_of_writing(parts: dict[str, bytes]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(report_archive.written(parts))
        file.flush()
        assert report_archive.read(file.name) == parts


@given(st.sampled_from([WHOLE, ARCHIVE]), st.data(), st.binary(max_size=12))
def test_a_file_that_was_tampered_with(
    whole: bytes, data: st.DataObject, change: bytes
) -> None:
    at = data.draw(st.integers(0, len(whole)))
    bad = whole[:at] + change + whole[at + len(change) :]
    read(bad)
    read(zstandard.ZstdCompressor().compress(bad))


@given(st.binary(max_size=2000))
def test_anything_at_all(data: bytes) -> None:
    read(data)
    read(zstandard.ZstdCompressor().compress(data))
