"""A hub of one repository, on this machine: as much of huggingface.co's API as a download asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "fedcba9876543210fedcba9876543210fedcba98"


class FakeHub(ThreadingHTTPServer):
    """Serves `folder` as the repository, or nothing but `refusal` where that is given."""

    def __init__(self, folder: Path, refusal: HTTPStatus | None, error_code: str, repository: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.refusal = refusal
        self.error_code = error_code
        self.repository = repository
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serve(folder: Path, refusal: HTTPStatus | None = None, error_code: str = "", repository: str = "someone/nano") -> Iterator[FakeHub]:
    with FakeHub(folder, refusal, error_code, repository) as hub:
        thread = Thread(target=hub.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: object) -> None:
        """Silence."""

    def _answer(self, *, with_body: bool) -> None:
        path, named = unquote(urlsplit(self.path).path), self.server.repository
        self.server.asked.append(path)
        if self.server.refusal is not None:
            self._send(self.server.refusal, b"{}", {"X-Error-Code": self.server.error_code}, with_body=with_body)
        elif path in {f"/api/models/{named}/revision/main", f"/api/models/{named}/revision/{COMMIT}"}:
            names = sorted(path.name for path in self.server.folder.iterdir())
            siblings = [{"rfilename": name} for name in names]
            self._send(HTTPStatus.OK, json.dumps({"id": named, "sha": COMMIT, "siblings": siblings}).encode(), {}, with_body=True)
        elif path.startswith(f"/api/models/{named}/tree/{COMMIT}"):
            entries = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": _sum(path)[:40]}
                for path in sorted(self.server.folder.iterdir())
            ]
            self._send(HTTPStatus.OK, json.dumps(entries).encode(), {}, with_body=True)
        elif path.startswith(f"/{named}/resolve/{COMMIT}/"):
            file = self.server.folder / path.rpartition("/")[2]
            headers = {"ETag": f'"{_sum(file)}"', "X-Repo-Commit": COMMIT}
            self._send(HTTPStatus.OK, file.read_bytes(), headers, with_body=with_body)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body=with_body)

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
