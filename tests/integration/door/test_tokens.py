"""Tokens of a key server: a gateway reads its keys, follows their rotation, and lives on."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm

from config.settings import AuthSettings, Settings
from config.stack.server import free_port
from tests.support.api import Api, Reply, serving, token_of
from tests.support.servers import SECRET
from tests.support.waiting import wait_until


class KeyServer:
    """Serves a JWK Set over HTTP; `keys` may change, `failing` answers 500."""

    def __init__(self) -> None:
        self.keys: dict[str, ed25519.Ed25519PrivateKey] = {}
        self.failing = False
        self.reads = 0
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks"

    def new_key(self, kid: str) -> None:
        self.keys[kid] = ed25519.Ed25519PrivateKey.generate()

    def document(self) -> str:
        public = [
            OKPAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid}
            for kid, key in self.keys.items()
        ]
        return json.dumps({"keys": public})

    def token(self, kid: str, scope: str = "buyer", subject: str = "buyer-1") -> str:
        claims = {"sub": subject, "aud": "dropgate", "exp": time.time() + 600, "scope": scope}
        return jwt.encode(claims, self.keys[kid], algorithm="EdDSA", headers={"kid": kid})

    async def answer(self, _request: web.Request) -> web.Response:
        self.reads += 1
        if self.failing:
            return web.Response(status=500)
        return web.Response(text=self.document(), content_type="application/json")


@asynccontextmanager
async def key_server() -> AsyncIterator[KeyServer]:
    server = KeyServer()
    server.new_key("first")
    app = web.Application()
    app.router.add_get("/jwks", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", server.port).start()
    try:
        yield server
    finally:
        await runner.cleanup()


def with_auth(settings: Settings, **auth: object) -> Settings:
    return settings.model_copy(update={"auth": AuthSettings.model_validate(auth)})


async def orders(api: Api, token: str) -> int:
    return (await api.call("GET", "/v1/orders", token=token)).status


async def test_a_gateway_follows_the_keys_of_a_server(settings: Settings) -> None:
    async with key_server() as keys:
        auth = with_auth(
            settings, secret=SECRET, jwks=keys.url, jwks_refresh_seconds=0.2,
            jwks_least_pause_seconds=0.05, jwks_stale_seconds=1.0,
        )  # fmt: skip
        async with serving(auth) as api:
            sale = await api.open_sale()  # with tokens of the shared secret
            path = f"/v1/sales/{sale}/reservations"
            sent = {"lines": [{"sku": "shirt", "quantity": 1}]}
            key = {"Idempotency-Key": "k"}
            token = keys.token("first")

            async def made() -> Reply | None:
                reply = await api.call("POST", path, token=token, json=sent, headers=key)
                return reply if reply.status == 201 else None

            # Here and below: the keys may be too old for a moment.
            reservation = await wait_until(made, "it is reserved")
            assert reservation.body["buyer_id"] == "buyer-1"

            async def shown() -> bool:
                location = reservation.headers["Location"]
                return (await api.call("GET", location, token=token)).status == 200

            await wait_until(shown, "it is shown")

            keys.new_key("second")
            new = keys.token("second")

            async def taken() -> bool:
                return await orders(api, new) == 200

            await wait_until(taken, "the new key is known")
            old = keys.token("first")

            async def known() -> bool:
                return await orders(api, old) == 200

            await wait_until(known, "the old key still counts")
            del keys.keys["first"]

            async def refused() -> bool:
                return await orders(api, old) == 401

            await wait_until(refused, "the old key is gone")

            keys.failing = True

            async def gave_up() -> bool:
                health = (await api.call("GET", "/readyz")).body
                return bool(health["degraded"] == ["token_keys"])

            await wait_until(gave_up, "the last good set is too old")
            told = await api.call("GET", "/v1/orders", token=new)
            assert told.told == (503, "recovering")
            assert int(told.headers["Retry-After"]) >= 1
            assert await orders(api, token_of("buyer", "b")) == 200, "secrets need no key server"
            keys.failing = False
            await wait_until(taken, "the keys are back")


async def test_keys_from_a_file_and_no_secret_at_all(settings: Settings, tmp_path: Path) -> None:
    keys, path = KeyServer(), tmp_path / "jwks.json"
    keys.new_key("first")
    await asyncio.to_thread(path.write_text, keys.document())
    async with serving(with_auth(settings, jwks=str(path))) as api:
        assert await orders(api, keys.token("first")) == 200
        listed = await api.call("GET", "/v1/sales", token=keys.token("first", "ops", "operator"))
        assert listed.status == 200
        assert await orders(api, token_of("buyer", "b")) == 401


async def test_a_gateway_starts_while_the_key_server_is_away(settings: Settings) -> None:
    url = f"http://127.0.0.1:{free_port()}/jwks"
    async with serving(with_auth(settings, secret=SECRET, jwks=url)) as api:
        assert await orders(api, token_of("buyer", "b")) == 200
        keys = KeyServer()
        keys.new_key("first")
        assert await orders(api, keys.token("first")) == 503


@pytest.mark.parametrize("secrets", ["old-secret-of-32-bytes-and-a-few-more", None])
async def test_secrets_are_rotated_without_turning_anybody_away(
    settings: Settings, secrets: str | None
) -> None:
    auth = with_auth(
        settings, secret="new-secret-of-32-bytes-and-a-few-more", other_secrets=secrets
    )
    claims = {"sub": "b", "aud": "dropgate", "exp": time.time() + 600, "scope": "buyer"}
    old = jwt.encode(claims, "old-secret-of-32-bytes-and-a-few-more", algorithm="HS256")
    new = jwt.encode(claims, "new-secret-of-32-bytes-and-a-few-more", algorithm="HS256")
    async with serving(auth) as api:
        assert await orders(api, new) == 200
        assert await orders(api, old) == (200 if secrets else 401)
