"""A TCP proxy in front of a server, which fails when it is told to."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.functional.servers.loopback import bound

T = TypeVar("T")

_ACCEPT_ROUNDS = 10
_CHUNK_BYTES = 1 << 16
# Source: socket(7), SO_LINGER with no time: close sends RST.
_RESET = struct.pack("ii", 1, 0)


class _Pair:
    """A client's connection and its own to the server."""

    def __init__(
        self, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        self.ends = (client, server)
        self.loses_answer = False

    def cut(self, *, hard: bool) -> None:
        """End both: by RST, or by FIN as an orderly server does."""
        for end in self.ends:
            if hard:
                _reset(end)
            else:
                end.close()


class Proxy:
    """Listens on a loopback port of its own while it is entered.

    :param upstream: the server's port on loopback.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._pairs: set[_Pair] = set()
        self._delay_s = 0.0
        # The words of a request whose answer is to be lost.
        self._lose: bytes = b""
        self.lost = 0
        # How many bytes still pass; None for all.
        self._left: int | None = None
        self.passed = 0
        # How many bytes had passed after each chunk of the conversation.
        self.marks: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        # Bound and never listening: the port stays ours while the
        # listener is away, and connecting is refused then.
        self._place = bound(0)
        self.port: int = self._place.getsockname()[1]
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    @property
    def connections(self) -> int:
        return len(self._pairs)

    def cut(self, *, hard: bool) -> int:
        """End every connection; how many there were."""
        return self._do(self._cut(hard=hard))

    def refuse(self) -> None:
        """Refuse new connections; those there are live on."""
        self._do(self._refuse())

    def accept(self) -> None:
        """Take new connections again."""
        self._do(self._listen())

    def delay(self, delay_s: float) -> None:
        """Hold back whatever passes, either way, for so long."""
        self._delay_s = delay_s

    def fall_silent(self, after: int) -> None:
        """Pass so many more bytes, either way, and then nothing any more.

        Connections stay open, and new ones are accepted.
        """
        self._left = after

    def speak(self) -> None:
        """Pass everything again, on new connections."""
        self._left = None
        self.passed = 0
        self.marks = []
        self.cut(hard=True)

    def lose_answer(self, words: bytes) -> None:
        """Lose the answer of the next request with these words.

        The request goes through; once the server answered, the client's
        connection ends instead.  ``lost`` counts them.
        """
        self._lose = words.lower()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        future: concurrent.futures.Future[T]
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, sock=bound(self.port)
            )

    async def _refuse(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        for listener in server.sockets:
            self._loop.remove_reader(listener.fileno())
        # A connection accepted just now becomes a transport in the loop's
        # next rounds; a server that is closed before leaves it open.
        # Source: CPython, asyncio/base_events.py (Server._attach).
        for _ in range(_ACCEPT_ROUNDS):
            await asyncio.sleep(0)
        server.close()

    async def _cut(self, *, hard: bool) -> int:
        pairs = tuple(self._pairs)
        for pair in pairs:
            pair.cut(hard=hard)
        return len(pairs)

    async def _close(self) -> None:
        await self._refuse()
        await self._cut(hard=True)
        # What was accepted becomes a task in the loop's next rounds; one that
        # is overlooked stays open.
        for _ in range(_ACCEPT_ROUNDS):
            await asyncio.sleep(0)
        while self._tasks:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        # What was cut is let go of in the loop's next round.
        await asyncio.sleep(0)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            found = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            _reset(writer)
            return
        except asyncio.CancelledError:
            _reset(writer)
            raise
        pair = _Pair(writer, found[1])
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._requests(pair, reader, found[1]),
                self._answers(pair, found[0], writer),
            )
        except OSError:
            pair.cut(hard=True)
        finally:
            self._pairs.discard(pair)
            pair.cut(hard=False)

    async def _requests(
        self,
        pair: _Pair,
        client: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        while chunk := await client.read(_CHUNK_BYTES):
            if self._lose and self._lose in chunk.lower():
                self._lose = b""
                pair.loses_answer = True
            await self._pass(chunk, server)
        server.close()

    async def _answers(
        self,
        pair: _Pair,
        server: asyncio.StreamReader,
        client: asyncio.StreamWriter,
    ) -> None:
        while chunk := await server.read(_CHUNK_BYTES):
            if pair.loses_answer:
                self.lost += 1
                pair.cut(hard=True)
                return
            await self._pass(chunk, client)
        client.close()

    async def _pass(self, chunk: bytes, to: asyncio.StreamWriter) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        self.passed += len(chunk)
        self.marks.append(self.passed)
        if self._left is not None:
            chunk = chunk[: self._left]
            self._left -= len(chunk)
        to.write(chunk)
        await to.drain()


def _reset(end: asyncio.StreamWriter) -> None:
    found = end.get_extra_info("socket")
    with contextlib.suppress(OSError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    end.transport.abort()
