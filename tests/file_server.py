"""A server of files on this machine, as those on the web are: with range requests, and with all that goes wrong."""

import base64
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Server:
    """One that runs.

    Attributes:
        folder: whose files it gives out, by `/a.tif`; the first folder of an address may say how:
            `/404/a.tif` and the like with that status, `/whole/a.tif` without ranges, `/slow/a.tif` never,
            `/login/a.tif` with a name and a password only, `/bare/a.tif` without ETag and time, `/get/a.tif` by GET,
            `/garbage/a.tif` not in HTTP.
        port: on this machine.
        asked: what came in: method, address and range.
        sent: bytes that went out as content.
        fails_after: bytes after which it has nothing but errors; None for never.
    """

    folder: Path
    port: int = 0
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    sent: int = 0
    fails_after: int | None = None

    def url(self, path: str, login: str = "") -> str:
        """Of a file."""
        return f"http://{login}127.0.0.1:{self.port}/{path}"

    def forget(self) -> None:
        """Count from here on."""
        self.asked.clear()
        self.sent = 0


def serve(folder: Path) -> tuple[Server, ThreadingHTTPServer]:
    """A server of a folder, in threads of its own."""
    server = Server(folder)
    http = _Quiet(("127.0.0.1", 0), type("Handler", (_Handler,), {"told": server}))
    server.port = http.server_port
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server, http


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Whoever asked has gone away."""


class _Handler(BaseHTTPRequestHandler):
    told: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quietly."""

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, body: bool) -> None:
        told, wanted = self.told, self.headers.get("Range")
        told.asked.append((self.command, self.path, wanted))
        path = unquote(urlsplit(self.path).path).lstrip("/")
        how = path.partition("/")[0]
        file = told.folder / (path.partition("/")[2] if re.fullmatch(r"\d{3}|whole|slow|login|bare|get", how) else path)
        if how == "slow":
            time.sleep(3)
            self.close_connection = True
            return
        if how == "garbage":
            self.wfile.write(b"hidden words\r\n\r\n")
            self.close_connection = True
            return
        if how == "login" and self.headers.get("Authorization") != f"Basic {base64.b64encode(b'me:hidden').decode()}":
            self._end(401)
        elif how == "get" and not body:
            self._end(403)
        elif how.isdecimal() and len(how) == 3:
            self._end(int(how))
        elif told.fails_after is not None and told.sent >= told.fails_after:
            self._end(503)
        elif not file.is_file():
            self._end(404)
        else:
            self._give(file, None if how == "whole" else wanted, body, how != "bare")

    def _end(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _give(self, file: Path, wanted: str | None, body: bool, stamped: bool) -> None:
        content = file.read_bytes()
        span = re.match(r"bytes=(\d+)-(\d*)", wanted or "")
        if span:
            first, last = int(span[1]), min(int(span[2] or len(content) - 1), len(content) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            content = content[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if stamped:
            self.send_header("ETag", f'"{file.stat().st_mtime_ns}"')
        self.end_headers()
        if body:
            self.told.sent += len(content)
            try:
                self.wfile.write(content)
            except OSError:  # whoever asked has seen enough
                self.close_connection = True
