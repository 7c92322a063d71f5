"""A host in one file, for an explanation on another machine."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping

import zstandard

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.redaction import redacted

RECORDING = "host.umockdev"
LOG = "kernel.log"
ENABLEMENT = "enablement.json"
IMAGES = "images.json"
NAMES = (RECORDING, LOG, ENABLEMENT, IMAGES)
"""All parts that there may be; names without folders."""

_TITLE = "report.json"
_FORMAT = 1
# A host of ten thousand functions takes a few MiB of either.
_MAX_FILE_BYTES = 64 << 20
_MAX_BYTES = 256 << 20
_MALFORMED = (
    tarfile.TarError, zstandard.ZstdError, EOFError, IndexError, KeyError,
    OverflowError, RecursionError, TypeError, ValueError,
)  # fmt: skip


def written(parts: Mapping[str, bytes]) -> bytes:
    """A ``.tar.zst`` of these parts, the same for the same parts.

    Without hardware addresses and serial numbers, whatever a part holds.

    :param parts: by name, each of ``NAMES``.
    """
    strange = sorted(set(parts) - set(NAMES))
    if strange:
        raise errors.Invalid(
            f"{strange[0]!r} is no part of a report; wanted one of"
            f" {', '.join(NAMES)}"
        )
    plain = {n: _redacted(parts[n]) for n in NAMES if n in parts}
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
    """The parts in a file that ``written`` made; anybody may have sent it.

    Nothing is put on disk, no path is followed, and what has another name
    is passed over.

    :raises ReadFailed: when the file cannot be read.
    :raises Invalid: when it is no report, or not a whole one.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise errors.ReadFailed(
            f"{path} cannot be read ({error.strerror}); wanted a report that"
            " 'gpu-passthrough host report' wrote"
        ) from error
    try:
        return _checked(dict(_members(_unpacked(data))))
    except _MALFORMED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise errors.Invalid(
            f"{path} is no report, or not a whole one ({reason}); wanted one"
            " that 'gpu-passthrough host report' wrote: copy it again"
        ) from error


def _unpacked(data: bytes) -> bytes:
    """All of it, which is only as long as its head says."""
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"over {_MAX_FILE_BYTES} bytes long")
    size = zstandard.get_frame_parameters(data).content_size
    if size == zstandard.CONTENTSIZE_UNKNOWN:
        raise ValueError("it does not say how long it is unpacked")
    if size > _MAX_BYTES:
        raise ValueError(f"over {_MAX_BYTES} bytes long unpacked")
    return zstandard.ZstdDecompressor().decompress(
        data, max_output_size=_MAX_BYTES, allow_extra_data=False
    )


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """The parts and the title, as plain files.

    As a stream, which never seeks back: a size below zero ends it.

    :raises ValueError: when one is no plain file, or is there twice.
    """
    seen = set()
    stream = io.BytesIO(archive)
    with tarfile.open(fileobj=stream, mode="r|") as members:
        for member in members:
            name = member.name
            # Going over more than there is takes hours.
            if not 0 <= member.size <= len(archive):
                raise ValueError(f"{name!r} breaks off")
            if name not in (*NAMES, _TITLE):
                continue
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise ValueError(f"{name} is no plain file")
            if name in seen:
                raise ValueError(f"{name} is there twice")
            seen.add(name)
            found = members.extractfile(member)
            yield name, b"" if found is None else found.read()


def _checked(found: dict[str, bytes]) -> dict[str, bytes]:
    """The parts that the title names, without the title.

    :raises ValueError: when that is of another format, or one is missing.
    """
    if _TITLE not in found:
        raise ValueError(f"no {_TITLE} in it")
    title = json.loads(found.pop(_TITLE))
    if title["format"] != _FORMAT:
        raise ValueError(f"format {title['format']!r}, and not {_FORMAT}")
    for name in title["parts"]:
        if name in NAMES and name not in found:
            raise ValueError(f"{name} is missing")
    return found


def _redacted(data: bytes) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    return redacted(text).encode("utf-8", "surrogateescape")


def _encoded(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()
