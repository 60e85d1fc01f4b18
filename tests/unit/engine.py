"""A container engine for tests: it listens on a unix socket, says what it is told to, and notes what it was asked."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Answers = Mapping[str, Any]
"""What it says, by path: bytes as they are, anything else as JSON; what functions return."""


class Engine:
    """`answers` are by path, or functions of the path; a path that is not there is 404. `asked` are the questions."""

    def __init__(self, path: Path, answers: Answers) -> None:
        self.path, self.answers = path, answers
        self.asked: list[str] = []
        self.connections = 0
        self._ended = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._ended.is_set():
                connection, _ = self._socket.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=[connection])
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            waiting = b""
            while piece := connection.recv(65536):
                waiting += piece
                while b"\r\n\r\n" in waiting:
                    head, _, waiting = waiting.partition(b"\r\n\r\n")
                    self._answer(connection, head.split()[1].decode())

    def _answer(self, connection: socket.socket, path: str) -> None:
        self.asked.append(path)
        answer = self.answers.get(path)
        if callable(answer):
            answer = answer()
        if isinstance(answer, bytes):
            connection.sendall(answer)
            return
        status = "404 Not Found" if answer is None else "200 OK"
        body = json.dumps({"message": "no such container"} if answer is None else answer).encode()
        connection.sendall(http(body, status))

    def end(self) -> None:
        self._ended.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(10)


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


@contextmanager
def engine(path: Path, answers: Answers) -> Iterator[Engine]:
    new = Engine(path, answers)
    try:
        yield new
    finally:
        new.end()


if __name__ == "__main__":  # PATH ANSWERS-AS-JSON: until somebody kills it
    Engine(Path(sys.argv[1]), json.loads(sys.argv[2]))
