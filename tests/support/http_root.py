"""An HTTP server for a data root, which knows ranges, and misbehaves where a test says so."""

import contextlib
import http.server
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote


class RootHandler(http.server.BaseHTTPRequestHandler):
    """`unruly`: what it does wrong with files named `unruly_file`."""

    protocol_version = "HTTP/1.1"
    root: Path
    unruly = ""
    unruly_file = "rows.bin"
    ends: threading.Event
    asked: Counter[str]

    def do_GET(self) -> None:
        self.asked[self.path.rpartition("/")[2]] += 1
        path = self.root / unquote(self.path).lstrip("/")
        if not path.is_file():
            self._answer(404, b"")
        elif path.name == self.unruly_file and self.unruly:
            getattr(self, f"_{self.unruly}")(path.read_bytes())
        else:
            self._send_range(path.read_bytes())

    def _send_range(self, data: bytes, *, change: bool = False, cut: int = 0, hang: bool = False) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted is None:
            self._answer(200, data)
            return
        first, last = int(wanted[1]), int(wanted[2])
        part = bytearray(data[first : last + 1])
        if change:
            part[len(part) // 3] ^= 0x40
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[: len(part) - cut])
        if hang:
            self.ends.wait(60)
        self.close_connection = bool(cut)

    def _changes_a_bit(self, data: bytes) -> None:
        self._send_range(data, change=True)

    def _truncates(self, data: bytes) -> None:
        self._send_range(data, cut=1000)

    def _is_cut_short(self, data: bytes) -> None:
        self._send_range(data[:-1])

    def _is_away(self, _: bytes) -> None:
        self._answer(404, b"")

    def _hangs(self, data: bytes) -> None:
        self._send_range(data, cut=1000, hang=True)

    def _answers_nothing(self, _: bytes) -> None:
        self.ends.wait(60)
        self.close_connection = True

    def _trickles_its_head(self, _: bytes) -> None:
        """A line of it again and again, each long before the client's limit."""
        self.send_response_only(200)
        self.flush_headers()
        with contextlib.suppress(ConnectionError):
            while not self.ends.wait(0.05):
                self.wfile.write(b"X-Waiting: for\r\n")
        self.close_connection = True

    def _ignores_ranges(self, data: bytes) -> None:
        self._answer(200, data)

    def _redirects(self, _: bytes) -> None:
        self._answer(302, b"", Location="http://elsewhere.invalid/rows.bin")

    def _sends_another_range(self, data: bytes) -> None:
        self.headers.replace_header("Range", "bytes=0-99")
        self._send_range(data)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # nobody wants the rest
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def http_root(
    root: Path, unruly: str = "", unruly_file: str = "rows.bin", *, asked: Counter[str] | None = None
) -> Iterator[str]:
    """Serve a data root as long as the block lasts; yields its URL. `asked` counts requests by the names of files."""
    ends = threading.Event()
    settings = {"root": root, "unruly": unruly, "unruly_file": unruly_file, "ends": ends}
    settings["asked"] = Counter() if asked is None else asked
    handler = type("Handler", (RootHandler,), settings)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            ends.set()
            server.shutdown()
            thread.join()
