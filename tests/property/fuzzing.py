"""Inputs that nobody wrote, made of those that somebody did.

What is drawn depends on the seed of ``tests.functional.lab.campaign``: on the
commit, or on GPU_PASSTHROUGH_SEED.
"""

from __future__ import annotations

import contextlib
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from gpu_passthrough_plugin import errors
from tests.functional.lab import campaign

MAX_SECONDS = 5.0
"""Of processor time, for one input."""
_MAX_BYTES = 4 << 30
_MAX_GROWTH_KIB = 512 << 10
# Where all is run, each target is fed for so long.
_WHOLE_SECONDS = 10.0
_LARGEST = 8 << 10
_NUMBERS = (
    b"0", b"-1", b"255", b"65536", b"4294967296", b"18446744073709551616",
    b"9" * 400, b"0x", b"1e309", b"0000000000000000", b"\xc2\xb2", b"08",
)  # fmt: skip
_ODD = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b]0;a\x07", b"\r",
    b"\x0b", b"\xc2\x85", b"\xef\xbb\xbf", b"\\", b"", b" ", b"\n", b"\n\n",
)  # fmt: skip


class Slow(BaseException):
    """An input that takes longer than it may; no handler keeps it."""


@contextlib.contextmanager
def bounded(seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Raise what takes too long, or too much memory.

    :raises Slow: after so many seconds of processor time.
    :raises MemoryError: where 4 GiB do not suffice.
    :raises AssertionError: where the process needed 512 MiB more than ever.
    """

    def stop(_signal: int, _frame: object) -> None:
        raise Slow

    is_main = threading.current_thread() is threading.main_thread()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, limits[1]))
    previous = signal.signal(signal.SIGPROF, stop) if is_main else None
    if is_main:
        signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        if is_main:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, previous)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    growth_kib = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    )
    assert growth_kib < _MAX_GROWTH_KIB, f"{growth_kib} KiB more"


def fed(
    reader: Callable[[bytes], object],
    inputs: Iterator[bytes],
    count: int,
    *,
    raises: tuple[type[Exception], ...] = (),
) -> None:
    """Raise if a reader ends in another way than it may for some input.

    :param count: of inputs, where not all is run.
    :param raises: what it documents besides the product's errors.
    :raises AssertionError: with the input, and how to have it again.
    """
    end = time.process_time() + _WHOLE_SECONDS
    number = 0
    while number < count or (campaign.is_whole() and _is_before(end)):
        number += 1
        data = next(inputs)
        try:
            with bounded():
                reader(data)
        except UnicodeError as error:
            _fail(number, data, error)
        except (Exception, Slow) as error:  # noqa: BLE001 - what is sought
            if not isinstance(error, (errors.Error, *raises)):
                _fail(number, data, error)


def _is_before(end: float) -> bool:
    return time.process_time() < end


def _fail(number: int, data: bytes, error: BaseException) -> None:
    raise AssertionError(
        f"input {number} of {campaign.header()}: {type(error).__name__}:"
        f" {error}: {data!r}"
    ) from error


class Mutator:
    """Draws inputs that are each a few steps away from one of a corpus.

    :param name: of the target, for which the seed gives inputs of its own.
    :param pieces: what the target's patterns look for.
    """

    def __init__(
        self, name: str, corpus: Sequence[bytes], pieces: Sequence[bytes]
    ) -> None:
        # No secret is made of it.
        self.chance = random.Random(f"{campaign.seed()} {name}")  # noqa: S311
        self._corpus = corpus
        self._pieces = pieces
        self._steps: tuple[Callable[[bytes], bytes], ...] = (
            self._inserted,
            self._inserted,
            self._replaced,
            self._removed,
            self._repeated,
            self._flipped,
            self._number,
            self._lines,
            self._spliced,
        )

    def __iter__(self) -> Iterator[bytes]:
        yield from self._corpus
        while True:
            yield self.mutated(self.chance.choice(self._corpus))

    def mutated(self, data: bytes) -> bytes:
        """Return an input that is a few steps from ``data``."""
        for _ in range(self.chance.choice((1, 1, 1, 2, 3, 6))):
            data = self.chance.choice(self._steps)(data)[:_LARGEST]
        return data

    def _piece(self) -> bytes:
        kind = self.chance.choice((self._pieces, _ODD, _NUMBERS))
        return self.chance.choice(kind)

    def _span(self, data: bytes) -> tuple[int, int]:
        begin = self.chance.randrange(len(data) + 1)
        length = self.chance.choice((1, 2, 4, 16, 64, len(data)))
        return begin, min(len(data), begin + length)

    def _inserted(self, data: bytes) -> bytes:
        at = self.chance.randrange(len(data) + 1)
        return data[:at] + self._piece() + data[at:]

    def _replaced(self, data: bytes) -> bytes:
        begin, end = self._span(data)
        return data[:begin] + self._piece() + data[end:]

    def _removed(self, data: bytes) -> bytes:
        begin, end = self._span(data)
        return data[:begin] + data[end:]

    def _repeated(self, data: bytes) -> bytes:
        begin, end = self._span(data)
        times = self.chance.choice((2, 3, 100))
        return data[:begin] + data[begin:end] * times + data[end:]

    def _flipped(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self.chance.randrange(len(data))
        value = data[at] ^ 1 << self.chance.randrange(8)
        return data[:at] + bytes((value,)) + data[at + 1 :]

    def _number(self, data: bytes) -> bytes:
        digits = [at for at, value in enumerate(data) if chr(value).isdigit()]
        if not digits:
            return self._inserted(data)
        at = self.chance.choice(digits)
        return data[:at] + self.chance.choice(_NUMBERS) + data[at + 1 :]

    def _lines(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        first, other = self.chance.choices(range(len(lines)), k=2)
        match self.chance.randrange(3):
            case 0:
                lines[first], lines[other] = lines[other], lines[first]
            case 1:
                lines.insert(first, lines[other])
            case _:
                del lines[first]
        return b"\n".join(lines)

    def _spliced(self, data: bytes) -> bytes:
        other = self.chance.choice(self._corpus)
        begin, end = self._span(data)[0], self._span(other)[0]
        return data[:begin] + other[end:]
