"""The agreement between client, server, exporter and trainer. It needs the standard library alone.

Read in this order: :mod:`sequences`, :mod:`recipe`, :mod:`tensors`, :mod:`records`, :mod:`errors`,
:mod:`manifest`, :mod:`identity`, :mod:`limits`.
"""

from glioserve_contract.codec import SchemaError, canonical_json, from_dict, sha256_digest, to_dict
from glioserve_contract.errors import ErrorCode, GlioserveError, Retry, Status, find_code, read_message
from glioserve_contract.sequences import REGISTRATION_ORDER, Modality
from glioserve_contract.version import CONTRACT_VERSION, NOT_FOR_CLINICAL_USE, same_major

__all__ = [
    "CONTRACT_VERSION",
    "NOT_FOR_CLINICAL_USE",
    "REGISTRATION_ORDER",
    "ErrorCode",
    "GlioserveError",
    "Modality",
    "Retry",
    "SchemaError",
    "Status",
    "canonical_json",
    "find_code",
    "from_dict",
    "read_message",
    "same_major",
    "sha256_digest",
    "to_dict",
]
