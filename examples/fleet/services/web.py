"""A minimal JSON-over-HTTP server for the example services: routes are functions from a query to a status and a body."""

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

Query = Mapping[str, str]
Reply = tuple[int, dict[str, object]]
Route = Callable[[Query], Reply]


class Server(ThreadingHTTPServer):
    """Listens again at once after a restart, and takes a burst of connections."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def serve(port: int, routes: Mapping[str, Route]) -> None:
    """Serve `routes` on the loopback until the process is told to stop."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            route = routes.get(parts.path)
            try:
                status, body = route(dict(parse_qsl(parts.query))) if route else (404, {"error": "no such page"})
            except Exception as error:  # noqa: BLE001 - a broken page is an answer too
                status, body = 500, {"error": f"{type(error).__name__}: {error}"}
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_args: object) -> None:
            """Stay quiet; the platform's log is the one to read."""

    Server(("127.0.0.1", port), Handler).serve_forever()
