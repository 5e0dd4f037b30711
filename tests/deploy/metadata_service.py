"""The metadata services of three clouds, as picky about headers as the real ones; for a container without a network."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

NAME = "torch-workstation-token"
SESSION = "a-session"
UP = Path("/tmp/metadata-is-up")
# (method, path) -> (the header that must be there, its value or None for any, the answer)
ANSWERS = {
    ("PUT", "/latest/api/token"): ("X-aws-ec2-metadata-token-ttl-seconds", None, SESSION),
    ("GET", f"/latest/meta-data/tags/instance/{NAME}"): ("X-aws-ec2-metadata-token", SESSION, "from-a-tag"),
    ("GET", f"/computeMetadata/v1/instance/attributes/{NAME}"): ("Metadata-Flavor", "Google", "from-an-attribute"),
    ("GET", "/metadata/instance/compute/tagsList?api-version=2021-02-01&format=json"): (
        "Metadata",
        "true",
        f'[{{"name": "owner", "value": "ada"}}, {{"name": "{NAME}", "value": "from-a-list"}}]',
    ),
}


class Service(BaseHTTPRequestHandler):
    def answer(self) -> None:
        header, wanted, body = ANSWERS.get((self.command, self.path), ("", None, ""))
        given = self.headers.get(header)
        allowed = given is not None and wanted in (None, given)
        self.send_response(200 if allowed else 404)
        self.end_headers()
        self.wfile.write(body.encode() if allowed else b"")

    do_GET = do_PUT = answer  # noqa: N815 (the base class looks for these names)


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 8000), Service)
    UP.touch()
    server.serve_forever()
