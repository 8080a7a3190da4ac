"""An OpenID Connect issuer for tests: its key set, and tokens that it signs."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER, AUDIENCE = "https://issuer.hospital.example", "glioserve"


class Issuer:
    """Signs with RS256."""

    def __init__(self, key_id: str = "first") -> None:
        self._key, self._key_id = rsa.generate_private_key(65537, 2048), key_id

    def write_keys(self, file: Path) -> Path:
        """Write the public key set."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self._key_id, "n": _number(numbers.n)}
        file.write_text(json.dumps({"keys": [{**key, "e": _number(numbers.e)}]}))
        return file

    def token(self, lifetime_s: float | None = 300, **claims: Any) -> str:
        """Return a token of ISSUER for AUDIENCE and the caller ``pacs``, but for what ``claims`` say otherwise."""
        said: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "pacs"}
        if lifetime_s is not None:
            said["exp"] = int(time.time() + lifetime_s)
        signed = f"{_part({'alg': 'RS256', 'kid': self._key_id})}.{_part({**said, **claims})}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"


def unsigned(**claims: Any) -> str:
    """Return a token that states that it needs no signature."""
    return f"{_part({'alg': 'none'})}.{_part({'iss': ISSUER, 'aud': AUDIENCE, 'sub': 'pacs', **claims})}."


def _part(content: Mapping[str, Any]) -> str:
    return _encoded(json.dumps(content).encode())


def _number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
