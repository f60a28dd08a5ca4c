"""Authentication as MONAI Label offers it: tokens of a realm, checked by a real server.

The realm is played by a server of the test, with a key pair of its own. It answers what Keycloak
answers at the three addresses that MONAI Label asks.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

pytest.importorskip("monailabel", reason="needs the environment of MONAI Label")

import jwt
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from label_servers import FAST, Server, mri, pet, server, write_volume

pytestmark = pytest.mark.label

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)
PEM = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(PUBLIC) + b"\n-----END PUBLIC KEY-----"


def token(key: Any = KEY, algorithm: str = "RS256", *, seconds: float = 300, **claims: Any) -> str:
    content = {
        "preferred_username": "ann",
        "email": "ann@example.org",
        "name": "Ann",
        "realm_access": {"roles": ["monailabel-user"]},
        "exp": time.time() + seconds,
        **claims,
    }
    return jwt.encode(content, key, algorithm=algorithm)


class Realm(BaseHTTPRequestHandler):
    """Publishes the key, says where tokens are had, and gives one for the right password."""

    def do_GET(self) -> None:
        host = self.headers["Host"]
        found = {
            "/realm": {"public_key": base64.b64encode(PUBLIC).decode()},
            "/realm/.well-known/openid-configuration": {"token_endpoint": f"http://{host}/token"},
        }.get(self.path)
        self.answer(200 if found else 404, found)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        right = parse_qs(body).get("password") == ["right"]
        given = {"access_token": token(), "token_type": "bearer"} if right else None
        self.answer(200 if right else 401, given)

    def answer(self, code: int, content: Any) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    write_volume(folder / "a_t1.nii.gz", mri(1))
    write_volume(folder / "a_pet.nii.gz", pet(1))
    write_volume(folder / "old_t1.nii.gz", mri(2))
    return folder


@pytest.fixture(scope="module")
def running(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    realm = ThreadingHTTPServer(("127.0.0.1", 0), Realm)
    threading.Thread(target=realm.serve_forever, daemon=True).start()
    env = {
        "MONAI_LABEL_AUTH_ENABLE": "true",
        "MONAI_LABEL_AUTH_REALM_URI": f"http://127.0.0.1:{realm.server_port}/realm",
    }
    with server(tmp_path_factory.mktemp("server"), volumes, "--writable", env=env) as made:
        yield made
    realm.shutdown()


def asked(running: Server, bearer: str | None) -> dict[str, int]:
    """The statuses of three requests with this token."""
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    fusion = requests.post(
        f"{running.url}/infer/ddfm",
        params={"image": "a_t1", "output": "json"},
        data={"params": json.dumps(FAST)},
        headers=headers,
        timeout=120,
    )
    info = requests.get(f"{running.url}/info/", headers=headers, timeout=20)
    image = requests.get(
        f"{running.url}/datastore/image", params={"image": "a_t1"}, headers=headers, timeout=20
    )
    return {
        "fusion": fusion.status_code,
        "info": info.status_code,
        "image": image.status_code,
    }


def test_a_token_of_the_realm_opens(running: Server) -> None:
    assert asked(running, token()) == {"fusion": 200, "info": 200, "image": 200}


@pytest.mark.parametrize(
    "bearer",
    [
        None,
        "nonsense",
        token(OTHER),
        token(seconds=-10),
        jwt.encode({"preferred_username": "ann"}, None, algorithm="none"),
    ],
    ids=["none", "nonsense", "another key", "expired", "unsigned"],
)
def test_anything_else_does_not(running: Server, bearer: str | None) -> None:
    assert set(asked(running, bearer).values()) == {401}


def test_the_public_key_is_no_password(running: Server) -> None:
    """A token signed with the public key as if it were a shared secret."""

    def part(content: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")

    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    claims = jwt.decode(token(), options={"verify_signature": False})
    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    mark = base64.urlsafe_b64encode(hmac.new(PEM, signed, hashlib.sha256).digest()).rstrip(b"=")
    assert set(asked(running, (signed + b"." + mark).decode()).values()) == {401}


def test_a_token_without_the_role_does_not(running: Server) -> None:
    statuses = asked(running, token(realm_access={"roles": ["visitor"]}))
    assert set(statuses.values()) <= {401, 403}


def test_an_operator_may_allow_to_remove_what_is_in_the_store(
    running: Server, volumes: Path
) -> None:
    admin = {"realm_access": {"roles": ["monailabel-user", "monailabel-admin"]}}
    for bearer, status in ((token(OTHER, **admin), 401), (token(**admin), 200)):
        gone = requests.delete(
            f"{running.url}/datastore/",
            params={"id": "old_t1"},
            headers={"Authorization": f"Bearer {bearer}"},
            timeout=20,
        )
        assert gone.status_code == status
        assert (volumes / "old_t1.nii.gz").exists() == (status == 401)


def test_the_client_logs_in(running: Server, tmp_path: Path) -> None:
    from monailabel.client import MONAILabelClient  # noqa: PLC0415

    client = MONAILabelClient(server_url=running.url, tmpdir=str(tmp_path))
    assert client.auth_enabled()
    given = client.auth_token("ann", "right")
    client.update_auth(given)
    assert client.info()["name"] == "monai_ddfm"
