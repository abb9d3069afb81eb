"""`dropgate token · jwks`: tokens for development, and the JWK Set of key files."""

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from config.commands.options import READY, Ready
from config.commands.shared import fail, settings_or_exit
from config.commands.tools import with_ready_file

RSA_BITS_MIN = 2048


class Scope(StrEnum):
    """The scope of a token: which calls it allows."""

    BUYER = "buyer"
    STOREFRONT = "storefront"
    OPS = "ops"


KeyFile = Annotated[
    Path | None,
    typer.Option(help="Private key (PEM: Ed25519 or RSA) to sign with, instead of the secret."),
]


def token(
    scope: Annotated[Scope, typer.Option(help="Scope: which calls the token allows.")],
    sub: Annotated[str, typer.Option(help="Subject: the id of the buyer, shop or operator.")],
    ttl: Annotated[int, typer.Option(min=1, help="Life of the token in seconds.")] = 3600,
    key: KeyFile = None,
    kid: Annotated[
        str | None,
        typer.Option(help="Key id in the token's header [default: the key file's name]."),
    ] = None,
    ready_file: Ready = READY,
) -> None:
    """Print a development token, signed with the secret or with a private key."""
    import jwt

    settings = with_ready_file(settings_or_exit(), ready_file)
    headers = {} if kid is None else {"kid": kid}
    if key is not None:
        signing, algorithm = _private_key(key)
        headers = {"kid": kid or key.stem}
    elif settings.auth.secret is not None:
        signing, algorithm = settings.auth.secret.get_secret_value(), "HS256"
    else:
        fail(
            f"nothing to sign with: give --key, name the ready file of dropgate up with "
            f"--ready-file (there is none at {ready_file}), or set DROPGATE_AUTH__SECRET"
        )
    now = int(time.time())
    claims: dict[str, object] = {"sub": sub, "scope": scope.value, "aud": settings.auth.audience}
    claims |= {"iat": now, "exp": now + ttl}
    print(jwt.encode(claims, signing, algorithm=algorithm, headers=headers))


def jwks(
    keys: Annotated[
        list[Path], typer.Argument(help="Private or public keys (PEM: Ed25519 or RSA).")
    ],
) -> None:
    """Print the JWK Set of the public keys; a key's id is its file's name without the ending."""
    print(json.dumps({"keys": [_public_jwk(path) for path in keys]}, indent=1))


def _private_key(path: Path) -> tuple[Any, str]:
    """The key and its algorithm; ends the command where the file has none."""
    key = _load(path)
    if not hasattr(key, "private_numbers") and not hasattr(key, "private_bytes"):
        fail(f"{path} is a public key; a token is signed with the private one")
    return key, _algorithm_of(path, key)


def _public_jwk(path: Path) -> dict[str, object]:
    from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

    key = _load(path)
    algorithm = _algorithm_of(path, key)
    public = key.public_key() if hasattr(key, "public_key") else key
    maker = OKPAlgorithm if algorithm == "EdDSA" else RSAAlgorithm
    jwk: dict[str, object] = maker.to_jwk(public, as_dict=True)
    jwk.pop("key_ops", None)
    return jwk | {"kid": path.stem, "alg": algorithm, "use": "sig"}


def _load(path: Path) -> Any:
    """The private or public key in a PEM file."""
    from cryptography.hazmat.primitives import serialization

    try:
        pem = path.read_bytes()
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
    try:
        if b"PRIVATE KEY" in pem:
            return serialization.load_pem_private_key(pem, password=None)
        return serialization.load_pem_public_key(pem)
    except (ValueError, TypeError):
        fail(f"{path} is no PEM file of a key that needs no password")


def _algorithm_of(path: Path, key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return "EdDSA"
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey) and key.key_size >= RSA_BITS_MIN:
        return "RS256"
    return fail(f"{path}: gateways verify with Ed25519, or with RSA of {RSA_BITS_MIN} bits or more")
