"""The server of the page: a fixed list of addresses, on this computer alone."""

import http.server
import json
import sys
from pathlib import Path

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


class PortTaken(OSError):
    """The port can't be listened on."""


def make_server(
    model: dict, artifact: Path, runtime: dict[str, Path], port: int
) -> http.server.ThreadingHTTPServer:
    """Makes a server of the page; `serve_forever` runs it.

    It answers at `/`, the page's own files, `/model.json`, `/model.onnx` and
    `/runtime/<name>`, to a browser that asks for 127.0.0.1 or localhost; else 404 or, to a
    name of another host, 403.

    Args:
        model: What `plan.read_demo` tells.
        artifact: The ONNX file.
        runtime: Name to path of what `vendor.fetch_runtime` fetched.
        port: TCP port; 0 for any that is free.

    Raises:
        PortTaken: If the port is taken, or not this user's to take.
    """
    answers: dict[str, Path | bytes] = {f"/{p.name}": p for p in sorted(PAGE.iterdir())}
    answers |= {f"/runtime/{name}": path for name, path in runtime.items()}
    answers |= {"/model.onnx": artifact, "/model.json": json.dumps(model).encode()}
    handler = type("Handler", (_Handler,), {"answers": answers | {"/": answers["/index.html"]}})
    try:
        return _Server((HOST, port), handler)
    except (OSError, OverflowError) as error:
        raise PortTaken(
            f"Expected a port of {HOST} that is free. Received: {port} ({error}). Name another "
            "with --port; 0 takes any."
        ) from error


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # a browser that no longer listens
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    answers: dict[str, Path | bytes] = {}
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "mmzoo", ""

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def _answer(self, body):
        # A page of another site, whose name was made to mean this computer, gets nothing.
        host, port = self.headers.get("Host", ""), self.connection.getsockname()[1]
        if host not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._send(403, b"Ask for 127.0.0.1 or localhost.\n", "text/plain", body)
            return
        path = self.path.partition("?")[0]
        answer = self.answers.get(path)  # no path is ever made of what was asked for
        if answer is None:
            self._send(404, b"No such page.\n", "text/plain", body)
            return
        name = answer.name if isinstance(answer, Path) else path
        content = answer.read_bytes() if isinstance(answer, Path) else answer
        self._send(200, content, TYPES[Path(name).suffix], body)

    def _send(self, status, content, kind, body):
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format, *args):
        """Prints nothing: the terminal shows the address, and errors."""
