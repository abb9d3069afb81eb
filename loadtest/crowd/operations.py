"""The few operations calls of a run, over a plain connection that gevent makes cooperative."""

from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

import msgspec

from loadtest.client.calls import RefusedError
from loadtest.client.target import Target, mint_token

TIMEOUT_SECONDS = 10.0


class Operations:
    """Calls with an operator's token about one sale."""

    def __init__(self, target: Target, sale_id: str) -> None:
        """Connect for each call: they are few."""
        self._authority = urlsplit(target.gateway).netloc
        self._token = mint_token(target.auth_secret, "ops", "loadtest-ops")
        self._path = f"/v1/sales/{sale_id}"

    def _call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = HTTPConnection(self._authority, timeout=TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _must(self, method: str, path: str, body: bytes | None = None) -> bytes:
        status, answer = self._call(method, path, body)
        if status not in {200, 201}:
            raise RefusedError(f"{method} {path}: {status} {answer.decode()}")
        return answer

    def create(self, spec: bytes) -> None:
        """Make the sale; raises RefusedError."""
        self._must("PUT", self._path, spec)

    def open(self) -> None:
        """Open the sale; raises RefusedError."""
        self._must("POST", f"{self._path}/open", b"{}")

    def skus(self) -> list[str]:
        """The SKUs of the sale; raises RefusedError."""
        shown = msgspec.json.decode(self._must("GET", self._path))
        return [item["sku"] for item in shown["items"]]

    def snapshot(self) -> bytes | None:
        """The counters, or None where they cannot be had at the moment."""
        try:
            status, answer = self._call("GET", f"{self._path}/snapshot")
        except (OSError, HTTPException):
            return None
        return answer if status == 200 else None
