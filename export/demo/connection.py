"""A client's connection, on which nobody can keep a thread of the server waiting."""

import io
import socket
import time

SECONDS = 10.0  # for a request's head, and for each block of an answer
IDLE = 5.0  # seconds between two requests
HEAD = 32 << 10  # bytes of a request's head
BLOCK = 1 << 20  # bytes of an answer


class TooSlowError(Exception):
    """A client that took too long, or sent too much, for what it asks."""


class _Timed(io.RawIOBase):
    """Reads from a socket until a moment that no single byte puts off."""

    def __init__(self, connection: socket.socket):
        super().__init__()
        self._connection = connection
        self.begin_request()

    def begin_request(self) -> None:
        self._end, self._left, self._begun = time.monotonic() + IDLE, HEAD, False

    def begin_answer(self) -> None:
        """What is sent next must be taken in `SECONDS`, all of it."""
        self._connection.settimeout(SECONDS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        seconds = self._end - time.monotonic()
        if seconds <= 0 or self._left <= 0:
            raise TooSlowError
        self._connection.settimeout(seconds)
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        if not self._begun:
            self._begun, self._end = True, time.monotonic() + SECONDS
        return count


def timed_reader(connection: socket.socket) -> tuple[_Timed, io.BufferedReader]:
    """The reader of a handler, `rfile`, and what sets its clock."""
    raw = _Timed(connection)
    return raw, io.BufferedReader(raw, 4096)
