"""Holds the contract's own semantic version, which changes with the wire and not with the code."""

CONTRACT_VERSION = "2.1.0"
"""Contract version. Major: a caller must change. Minor: something was added. Patch: words only."""

NOT_FOR_CLINICAL_USE = (
    "Not for clinical use: research software. The demo model was trained on synthetic phantoms only; "
    "a trained and validated model is required before any answer may inform care."
)


def same_major(version: str) -> bool:
    """Return whether a peer that speaks ``version`` (``"1.4.2"``) can be understood by this one."""
    return version.split(".", 1)[0] == CONTRACT_VERSION.split(".", 1)[0]
