"""Glance with one image, and Neutron without networks.

They say no more than Nova, and the command that an operator types, ask of
them for instances from an image and without a port.
"""

from __future__ import annotations

import http.server
import json
import urllib.parse
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tests.functional.servers import loopback

IMAGE = "5c2e1d7a-6f0b-4a3c-9c55-8e1f0d2b7a11"
IMAGE_NAME = "guest"


class Answer(NamedTuple):
    """What is said: as JSON, but for bytes."""

    status: int
    body: bytes | dict[str, Any]


class StandIn(http.server.ThreadingHTTPServer):
    """A service on a free port of 127.0.0.1, to run by ``serving``."""

    daemon_threads = True
    version: ClassVar[str]

    def __init__(self) -> None:
        super().__init__((loopback.HOST, 0), _Handler)

    @property
    def url(self) -> str:
        return self.url_at("127.0.0.1")

    def url_at(self, place: str) -> str:
        """Its URL for those who reach it at another address."""
        return f"http://{place}:{self.server_address[1]}"

    def answer(self, path: str, query: dict[str, list[str]]) -> Answer:
        """What a GET of ``path`` gives; which has no slash at its ends."""
        raise NotImplementedError

    def versions(self, place: str) -> Answer:
        """The one that it speaks."""
        url = f"http://{place}/v{self.version[0]}/"
        one = {
            "id": f"v{self.version}",
            "status": "CURRENT",
            "links": [{"rel": "self", "href": url}],
        }
        return Answer(200, {"versions": [one]})


class Glance(StandIn):
    """One image; what it holds matters where it is booted.

    :param contents: a raw disk.
    """

    version = "2.9"

    def __init__(self, contents: bytes = bytes(1 << 20)) -> None:
        super().__init__()
        self._contents = contents

    def answer(self, path: str, query: dict[str, list[str]]) -> Answer:
        image = self._image()
        match path.split("/"):
            case ["v2", "images"]:
                names = query.get("name", [IMAGE_NAME])
                return Answer(200, {"images": [image] * (IMAGE_NAME in names)})
            case ["v2", "images", found] if found == IMAGE:
                return Answer(200, image)
            case ["v2", "images", found, "file"] if found == IMAGE:
                return Answer(200, self._contents)
            case ["v2", "schemas", "image"]:
                # What an image has without an operator's adding it.
                own: dict[str, object] = {key: {} for key in image}
                return Answer(200, {"name": "image", "properties": own})
        return Answer(404, {"message": f"no {path}"})

    def _image(self) -> dict[str, Any]:
        return {
            "id": IMAGE,
            "name": IMAGE_NAME,
            "status": "active",
            "visibility": "public",
            "container_format": "bare",
            "disk_format": "raw",
            "size": len(self._contents),
            "min_disk": 0,
            "min_ram": 0,
            "protected": False,
            "os_hidden": False,
            "owner": None,
            "tags": [],
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
            "self": f"/v2/images/{IMAGE}",
            "file": f"/v2/images/{IMAGE}/file",
            "schema": "/v2/schemas/image",
        }


class Neutron(StandIn):
    """No networks, no ports, no extensions: an empty list of everything."""

    version = "2.0"

    def answer(self, path: str, query: dict[str, list[str]]) -> Answer:
        return Answer(200, {Path(path).stem: []})


class _Handler(http.server.BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        asked = urllib.parse.urlsplit(self.path)
        path = asked.path.strip("/")
        given = self.server.answer(path, urllib.parse.parse_qs(asked.query))
        if path in ("", "versions"):
            given = self.server.versions(self.headers["Host"])
        body, kind = given.body, "application/octet-stream"
        if not isinstance(body, bytes):
            body, kind = json.dumps(body).encode(), "application/json"
        self.send_response(given.status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: Any) -> None:
        pass
