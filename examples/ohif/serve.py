"""Serve OHIF, as npm has it, on this machine, with an Orthanc behind the same address.

    npm pack @ohif/app && tar xzf ohif-app-*.tgz
    python serve.py package/dist --orthanc http://127.0.0.1:8042 --port 3000

The browser asks one address only, so neither needs CORS. An archive with a password is given as
http://NAME:PASSWORD@127.0.0.1:8042. For one person on one machine: nothing here asks for a
password, and only reading is passed on. Research use only - not for diagnosis.
"""

from __future__ import annotations

import argparse
import shutil
from base64 import b64encode
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

CONFIG = Path(__file__).with_name("app-config.js")
ARCHIVE = "/dicom-web/"
PASSED_ON = ("Accept", "Content-Type", "Range")


class Handler(SimpleHTTPRequestHandler):
    """Files of OHIF; its own addresses are all its first page; DICOMweb goes to the archive."""

    def __init__(self, *args: object, orthanc: str, **more: object) -> None:
        parts = urlsplit(orthanc.rstrip("/"))
        self.orthanc = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self.login = b64encode(login.encode()).decode() if parts.username else ""
        super().__init__(*args, **more)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer with a file, the configuration, the archive's answer, or the first page."""
        path = self.path.split("?")[0]
        if path.startswith(ARCHIVE):
            self._pass_on()
        elif path == "/app-config.js":
            self._send(CONFIG.read_bytes(), "text/javascript")
        else:
            if not Path(self.translate_path(path)).is_file():
                self.path = "/index.html"
            super().do_GET()

    def _pass_on(self) -> None:
        headers = {name: self.headers[name] for name in PASSED_ON if self.headers[name]}
        if self.login:
            headers["Authorization"] = f"Basic {self.login}"
        try:
            answer = urlopen(Request(self.orthanc + self.path, headers=headers), timeout=600)
        except HTTPError as error:
            answer = error
        except URLError as error:
            self.send_error(HTTPStatus.BAD_GATEWAY, f"{self.orthanc} does not answer: {error}")
            return
        with answer:
            self.send_response(answer.status)
            for name in ("Content-Type", "Content-Length"):
                if answer.headers[name]:
                    self.send_header(name, answer.headers[name])
            self.end_headers()
            shutil.copyfileobj(answer, self.wfile)

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing for each request."""


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", type=Path, help="the folder package/dist of @ohif/app")
    parser.add_argument("--orthanc", default="http://127.0.0.1:8042")
    parser.add_argument("--port", type=int, default=3000)
    given = parser.parse_args()
    if not (given.dist / "index.html").is_file():
        parser.error(f"{given.dist} has no index.html; give the folder dist of @ohif/app")
    handler = partial(Handler, directory=str(given.dist), orthanc=given.orthanc)
    with ThreadingHTTPServer(("127.0.0.1", given.port), handler) as server:
        print(f"OHIF at http://127.0.0.1:{given.port}, archive {given.orthanc}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
