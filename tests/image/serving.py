"""A server of a folder's files for tests, in a process of its own: GDAL may hold Python's lock while it waits for it.

The first part of an address says how the file after it is given: ``ranges``, ``whole``, ``cut`` (parts end early),
``stalled`` (parts never come), ``denied``; ``twice-HOW``: each part fails twice; ``from3-HOW``: all fail from the
third request on. ``HOW`` is ``busy`` (503), ``gone`` (no answer), ``cut`` (ends early), ``late`` (never ends).
Bytes given are counted in the folder's ``log``.
"""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

LARGE = 20_000  # bytes: longer parts are those that are cut, or never come


class Handler(http.server.BaseHTTPRequestHandler):
    """Files by range of bytes."""

    folder: Path
    requests: ClassVar[Counter[str]] = Counter()

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, body: bool) -> None:
        _, how, name = self.path.split("/", 2)
        file = self.folder / name
        if self.fails(how):
            return
        if how == "denied" or not file.is_file():
            self.send_error(403 if how == "denied" else 404)
            return
        data = file.read_bytes()
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")) if how != "whole" else None
        etag = f'"{file.stat().st_mtime_ns}"'
        if self.headers.get("If-Range", etag) != etag:
            asked = None
        start, stop = (int(asked[1] or 0), int(asked[2] or len(data) - 1) + 1) if asked else (0, len(data))
        if asked and not asked[1]:  # so many of the last ones
            start, stop = max(0, len(data) - int(asked[2])), len(data)
        part = data[start:stop]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
        self.send_header("Accept-Ranges", "none" if how == "whole" else "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", etag)
        self.end_headers()
        if not body:
            return
        if len(part) > LARGE and how == "stalled":
            time.sleep(3600)
        if len(part) > LARGE and how == "cut":
            part = part[: len(part) // 2]
        with (self.folder / "log").open("a") as log:
            log.write(f"{len(part)}\n")
        with suppress(ConnectionError):
            self.wfile.write(part)

    def fails(self, how: str) -> bool:
        """Fails as the address says; whether it did."""
        when, _, kind = how.partition("-")
        key = self.path + self.headers.get("Range", "") if when == "twice" else how
        self.requests[key] += 1
        count = self.requests[key]
        if not kind or (count > 2 if when == "twice" else count < int(when.removeprefix("from"))):
            return False
        if kind == "busy":
            self.send_error(503)
        elif kind != "gone":
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"cut")
            self.wfile.flush()
            time.sleep(3600 if kind == "late" else 0)
        self.close_connection = True
        return True

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a server of a folder, and its process."""
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}", process
        finally:
            process.kill()


def fetched(folder: Path) -> int:
    """Bytes that the server of a folder has given."""
    return sum(int(line) for line in (folder / "log").read_text().split())


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()
