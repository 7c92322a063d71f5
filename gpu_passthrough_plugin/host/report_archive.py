"""The file of ``host report``: a host, for an explanation elsewhere."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping

import zstandard

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import budget
from gpu_passthrough_plugin.model.reading import as_text, encoded
from gpu_passthrough_plugin.model.redaction import Redaction

RECORDING = "host.umockdev"
LOG = "kernel.log"
ENABLEMENT = "enablement.json"
IMAGES = "images.json"
UNREAD = "unread.json"
NAMES = (RECORDING, LOG, ENABLEMENT, IMAGES, UNREAD)
"""The names of all parts that a report may have."""

# Source: RFC 8878, section 3.1.1.
_MAGIC = b"\x28\xb5\x2f\xfd"
_RECORDING_START = b"P: /devices/"
_TITLE = "report.json"
_FORMAT = 1
_MAX_FILE_BYTES = 64 << 20
_MALFORMED = (
    tarfile.TarError, zstandard.ZstdError, EOFError, IndexError, KeyError,
    OverflowError, RecursionError, TypeError, ValueError,
)  # fmt: skip


def written(
    parts: Mapping[str, bytes], redaction: Redaction | None = None
) -> bytes:
    """Return parts as a ``.tar.zst``; equal parts give equal bytes.

    Addresses and ids that are left in any part are replaced.

    :param parts: by name, each of ``NAMES``.
    :param redaction: the one that the parts were redacted with.
    """
    unknown = sorted(set(parts) - set(NAMES))
    if unknown:
        raise errors.Invalid(
            f"{unknown[0]!r} is not a part of a report; expected one of"
            f" {', '.join(NAMES)}"
        )
    ids = (redaction or Redaction()).ids
    plain = {n: encoded(ids(as_text(parts[n]))) for n in NAMES if n in parts}
    title = {"format": _FORMAT, "parts": list(plain)}
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT
    ) as archive:
        for name, data in (*plain.items(), (_TITLE, _encoded(title))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    return compressor.compress(buffer.getvalue())


def read(path: str) -> Mapping[str, bytes]:
    """Return the parts in a report file, which may come from anywhere.

    Nothing is written to disk, no path in it is followed, and parts of
    other names are ignored.

    :raises ReadFailed: when the file cannot be read.
    :raises Invalid: when it is not a complete report.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise errors.ReadFailed(
            f"{path} cannot be read ({error.strerror}); expected a file that"
            " 'gpu-passthrough host report' wrote"
        ) from error
    if not _MAGIC.startswith(data[: len(_MAGIC)]):
        raise errors.Invalid(_not_a_report(path, data))
    try:
        return _checked(dict(_members(_unpacked(data))))
    except _MALFORMED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise errors.Invalid(
            f"{path} is not a complete report ({reason}); expected a file that"
            " 'gpu-passthrough host report' wrote; copy it again"
        ) from error


def _not_a_report(path: str, data: bytes) -> str:
    if data.startswith(_RECORDING_START):
        return f"{path} is a recording, not a report; read it with --recording"
    return (
        f"{path} is not a report: it starts with {data[:20]!r}; expected a"
        " file that 'gpu-passthrough host report' wrote (.tar.zst)"
    )


def _unpacked(data: bytes) -> bytes:
    """Return the decompressed data, which is bounded by its header."""
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"over {_MAX_FILE_BYTES} bytes long")
    size = zstandard.get_frame_parameters(data).content_size
    if size == zstandard.CONTENTSIZE_UNKNOWN:
        raise ValueError("it does not state its decompressed size")
    if size > budget.MAX_BYTES:
        raise ValueError(f"over {budget.MAX_BYTES} bytes long decompressed")
    return zstandard.ZstdDecompressor().decompress(
        data, max_output_size=budget.MAX_BYTES, allow_extra_data=False
    )


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the parts and the title, which have to be plain files.

    The archive is read as a stream, which never seeks back: a negative size
    ends it.

    :raises ValueError: when one is not a plain file, or is a duplicate.
    """
    seen = set()
    stream = io.BytesIO(archive)
    with tarfile.open(fileobj=stream, mode="r|") as members:
        for count, member in enumerate(members, 1):
            name = member.name
            if count > budget.MAX_MEMBERS:
                raise ValueError(f"over {budget.MAX_MEMBERS} members")
            # Skipping more than the archive has takes hours.
            if not 0 <= member.size <= len(archive):
                raise ValueError(f"{name!r} is truncated")
            if name not in (*NAMES, _TITLE):
                continue
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise ValueError(f"{name} is not a plain file")
            if name in seen:
                raise ValueError(f"{name} is contained twice")
            seen.add(name)
            content = members.extractfile(member)
            yield name, b"" if content is None else content.read()


def _checked(members: dict[str, bytes]) -> dict[str, bytes]:
    """Return the parts that the title lists, without the title.

    :raises ValueError: when its format is another, or a part is missing.
    """
    if _TITLE not in members:
        raise ValueError(f"{_TITLE} is missing")
    title = json.loads(members.pop(_TITLE))
    if title["format"] != _FORMAT:
        raise ValueError(f"format {title['format']!r}, expected {_FORMAT}")
    for name in title["parts"]:
        if name in NAMES and name not in members:
            raise ValueError(f"{name} is missing")
    return members


def _encoded(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()
