"""A Nabla of our own over real HTTP: it checks who asks as the documentation says, and what is asked.

Written from facts about the API; no text of Nabla's is in it.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt

CLIENT_ID = "0b9b5b0a-3f1c-4a53-9d0a-9a7d3f4f2f10"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SERVED_SINCE = "2024-10-01"


@dataclass
class Reply:
    status: int = 200
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, code: int, name: str = "BAD_REQUEST") -> Reply:
    """The documented body of an error; its message quotes a note, which must go nowhere."""
    said = {"message": "SECRET words", "code": code, "name": name, "trace_id": f"trace-{code}"}
    return Reply(status, said)


@dataclass
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    content: Any


class NablaServer:
    """`answers` gives the reply by path below the product; the token's address answers by itself."""

    def __init__(self, jwks: Mapping[str, Any], now: Callable[[], datetime]) -> None:
        self.jwks = jwks
        self.now = now
        self.token_seconds = 3600
        self.answers: dict[str, Callable[[Asked], Reply]] = {}
        self.asked: list[Asked] = []
        self.num_tokens = 0
        self.spent: set[str] = set()
        self.refused_because = ""
        self.revoked: set[str] = set()
        self.url = ""

    def asked_for(self, ending: str) -> list[Asked]:
        return [each for each in self.asked if each.path.endswith(ending)]

    def reply(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        if asked.path.endswith("/oauth/token"):
            return self._token(asked)
        bearer = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if not bearer.startswith(("token-", "ey")) or bearer in self.revoked:
            return refusal(401, 401, "UNAUTHORIZED")
        if asked.headers.get("x-nabla-api-version", "") < SERVED_SINCE:
            return Reply(404, {"message": "no such version"})
        for ending, answer in self.answers.items():
            if asked.path.endswith(ending):
                return answer(asked)
        return refusal(404, 20000, "ENTITY_NOT_FOUND")

    def _token(self, asked: Asked) -> Reply:
        try:
            self._require_assertion(asked)
        except (jwt.InvalidTokenError, KeyError, AssertionError) as error:
            self.refused_because = str(error)
            return refusal(401, 401, "UNAUTHORIZED")
        self.num_tokens += 1
        token = {"access_token": f"token-{self.num_tokens}", "expires_in": self.token_seconds}
        return Reply(200, token)  # and no token_type

    def _require_assertion(self, asked: Asked) -> None:
        assert asked.headers["content-type"] == "application/json", "the call is JSON"
        content = asked.content
        assert content["grant_type"] == "client_credentials"
        assert content["client_assertion_type"] == ASSERTION_TYPE
        assertion = content["client_assertion"]
        head = jwt.get_unverified_header(assertion)
        assert (head["alg"], head["typ"]) == ("RS256", "JWT")
        keys = {each["kid"]: each for each in self.jwks["keys"]}
        key = jwt.PyJWK(keys[head["kid"]], algorithm="RS256")
        claims = jwt.decode(
            assertion,
            key,
            algorithms=["RS256"],
            audience=self.url + asked.path,
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        now = self.now().timestamp()
        assert claims["iss"] == claims["sub"] == CLIENT_ID, "iss and sub"
        assert now < claims["exp"] <= now + 300, "exp: at most five minutes"
        assert claims["iat"] <= now, "iat: not in the future"
        assert claims["exp"] - claims["iat"] <= 300, "iat: within five minutes of exp"
        assert claims["jti"] not in self.spent, "jti: once"
        self.spent.add(claims["jti"])


@contextmanager
def nabla_server(jwks: Mapping[str, Any], now: Callable[[], datetime]) -> Iterator[NablaServer]:
    """The server at a free port of this machine."""
    nabla = NablaServer(jwks, now)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            content = json.loads(body) if body else None
            reply = nabla.reply(Asked(self.command, self.path, headers, content))
            said = reply.content
            sent = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    nabla.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield nabla
    finally:
        server.shutdown()
        server.server_close()
