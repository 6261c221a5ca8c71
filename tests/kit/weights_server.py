"""A real HTTP server on this machine that misbehaves as it is told to."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What is answered to every request; `requests` are the values of the headers Range and If-Range that came.

    cut: bytes after which the connection is closed, in the first `times` answers; hang: the same, but it stays open.
    statuses: what the first answers are instead. says: the length it claims the file has.
    """

    content: bytes
    has_ranges: bool = True
    tag: str | None = '"one"'
    cut: int | None = None
    hang: int | None = None
    times: int = 1000
    statuses: list[int] = field(default_factory=list)
    says: int | None = None
    has_length: bool = True
    shift: int = 0
    redirect: str | None = None
    requests: list[tuple[str | None, str | None]] = field(default_factory=list)


@contextmanager
def serving(behaviour):
    """The URL of a file on a server that behaves so."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            behaviour.requests.append((self.headers["Range"], self.headers["If-Range"]))
            if behaviour.redirect:
                self.send_response(302)
                self.send_header("Location", behaviour.redirect)
                self.end_headers()
            elif behaviour.statuses:
                self.send_error(behaviour.statuses.pop(0))
            else:
                self.answer()

        def answer(self):
            start = self.start()
            if start is not None and start >= len(behaviour.content):
                self.send_error(416)
                return
            body = behaviour.content[start or 0 :]
            total = behaviour.says or len(behaviour.content)
            self.send_response(200 if start is None else 206)
            if start is not None:
                first = start + behaviour.shift
                self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
            if behaviour.has_length:
                self.send_header("Content-Length", str(total - (start or 0)))
            if behaviour.tag:
                self.send_header("ETag", behaviour.tag)
            self.end_headers()
            self.send(body)

        def start(self):
            given, condition = self.headers["Range"], self.headers["If-Range"]
            if not given or not behaviour.has_ranges or condition not in (None, behaviour.tag):
                return None
            return int(given.removeprefix("bytes=").removesuffix("-"))

        def send(self, body):
            stop = behaviour.cut if behaviour.cut is not None else behaviour.hang
            if stop is None or len(behaviour.requests) > behaviour.times:
                self.wfile.write(body)
                return
            self.wfile.write(body[:stop])
            self.wfile.flush()
            if behaviour.hang is not None:
                released.wait(60)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/weights.npy"
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()
