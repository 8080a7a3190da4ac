"""Sealed JSON: a file that carries the SHA-256 of its own bytes, so that a change is noticed.

``"seal": "sha256:…"`` is the digest of the file's text with these 64 digits as zeros. It guards against a broken disk
or transfer and an edit by hand, not against an intended change: a writer of the file can seal it anew.
"""

from __future__ import annotations

import json
import re

from glioserve_contract.codec import sha256_digest

BLANK_SEAL = "sha256:" + "0" * 64
"""Value of the key ``seal`` before sealing; the key stands once, at any depth."""

_SEALED = re.compile(rb'(?<="seal": "sha256:)[0-9a-f]{64}(?=")')


def sealed_json(value: object) -> bytes:
    """Return the sealed text of ``value``, readable and diffable; ValueError where it has not one blank seal."""
    text = (json.dumps(value, indent=2) + "\n").encode()
    if _digits(text) != BLANK_SEAL[-64:].encode():
        raise ValueError("a value to be sealed has the key 'seal' once, blank")
    return _SEALED.sub(sha256_digest(text)[-64:].encode(), text)


def seal_holds(text: bytes) -> bool:
    """Return whether every byte is as it was when the text was sealed."""
    digits = _digits(text)
    return digits is not None and sha256_digest(_SEALED.sub(b"0" * 64, text))[-64:].encode() == digits


def _digits(text: bytes) -> bytes | None:
    found: list[bytes] = _SEALED.findall(text)
    return found[0] if len(found) == 1 else None
