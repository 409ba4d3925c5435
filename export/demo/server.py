"""The server of the page: a fixed list of addresses, on this computer alone."""

import contextlib
import hashlib
import http.server
import json
import sys
import threading
from pathlib import Path

from mmzoo.export.demo.connection import BLOCK, TooSlowError, timed_reader

PAGE = Path(__file__).resolve().parent / "page"
HOST = "127.0.0.1"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
POLICY = "; ".join(
    [
        "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "worker-src 'self'",
        "connect-src 'self'", "style-src 'self'", "img-src 'self'",
        "media-src blob:",  # the sound that a person gave, played again
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    ]
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # the next bundle stands at the same address
}

CLIENTS = 32  # connections at a time; a browser opens six
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class PortTaken(OSError):
    """The port can't be listened on."""


def make_server(
    model: dict, artifact: Path, runtime: dict[str, Path], port: int
) -> http.server.ThreadingHTTPServer:
    """Makes a server of the page; `serve_forever` runs it.

    It answers at `/`, the page's own files, `/model.json`, `/model.onnx` and
    `/runtime/<name>`, to a browser that asks for 127.0.0.1 or localhost; else 404 or, to a
    name of another host, 403. Every file is read once, here: what was checked is what is served.

    At most `CLIENTS` connections are open; one more is told 503. A request must be there within
    `connection.SECONDS` of its first byte, in `connection.HEAD` bytes, without a body, and a
    client must take each MiB of an answer within `connection.SECONDS`, or it is cut off.

    Args:
        model: What `plan.read_demo` tells.
        artifact: The ONNX file.
        runtime: Name to path of what `vendor.fetch_runtime` fetched.
        port: TCP port; 0 for any that is free.

    Raises:
        PortTaken: If the port is taken, or not this user's to take.
        ValueError: If the ONNX file is no longer the one whose SHA-256 `model` tells.
    """
    answers: dict[str, bytes] = {}
    handler = type("Handler", (_Handler,), {"answers": answers})
    try:
        server = _Server((HOST, port), handler)
    except (OSError, OverflowError) as error:
        raise PortTaken(
            f"Expected a port of {HOST} that is free. Received: {port} ({error}). Name another "
            "with --port; 0 takes any."
        ) from error
    try:
        answers |= {f"/{path.name}": path.read_bytes() for path in sorted(PAGE.iterdir())}
        answers |= {f"/runtime/{name}": path.read_bytes() for name, path in runtime.items()}
        answers |= {"/model.onnx": artifact.read_bytes(), "/model.json": json.dumps(model).encode()}
        answers["/"] = answers["/index.html"]
        digest = hashlib.sha256(answers["/model.onnx"]).hexdigest()
        if digest != model.get("sha256", digest):
            raise ValueError(
                f"Expected SHA-256 {model['sha256']} of {artifact}. Received: {digest}. It was "
                "changed since it was checked: `mmzoo verify` says what is wrong."
            )
    except BaseException:
        server.server_close()
        raise
    return server


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 32

    def __init__(self, *args):
        super().__init__(*args)
        self._free = threading.BoundedSemaphore(CLIENTS)

    def process_request(self, request, client_address):
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.settimeout(0.1)  # the one thread that accepts waits for nobody
        with contextlib.suppress(OSError):  # it does not listen either
            request.sendall(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request, client_address):
        # A browser that no longer listens, or a client that keeps a thread waiting.
        if not isinstance(sys.exception(), ConnectionError | TooSlowError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    answers: dict[str, bytes] = {}
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "mmzoo", ""

    def setup(self):
        super().setup()
        self.rfile.close()
        self._timed, self.rfile = timed_reader(self.connection)

    def handle_one_request(self):
        self._timed.begin_request()
        super().handle_one_request()

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def _answer(self, body):
        if self.headers.get("Transfer-Encoding") or self.headers.get("Content-Length", "0") != "0":
            self.close_connection = True  # what follows would be taken for the next request
            self._send(413, b"Ask without a body.\n", "text/plain", body)
            return
        # A page of another site, whose name was made to mean this computer, gets nothing.
        hosts, port = self.headers.get_all("Host", []), self.connection.getsockname()[1]
        if hosts not in ([f"{HOST}:{port}"], [f"localhost:{port}"]):
            self._send(403, b"Ask for 127.0.0.1 or localhost.\n", "text/plain", body)
            return
        path = self.path.partition("?")[0]
        content = self.answers.get(path)  # no path is ever made of what was asked for
        if content is None:
            self._send(404, b"No such page.\n", "text/plain", body)
            return
        self._send(200, content, TYPES[Path(path if path != "/" else "index.html").suffix], body)

    def _send(self, status, content, kind, body):
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self._timed.begin_answer()
        self.end_headers()
        for start in range(0, len(content) if body else 0, BLOCK):
            self._timed.begin_answer()
            self.wfile.write(memoryview(content)[start : start + BLOCK])

    def log_message(self, format, *args):
        """Prints nothing: the terminal shows the address, and errors."""
