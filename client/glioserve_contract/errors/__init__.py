"""Every error that leaves our code: the table, the classes made from it, and the text that carries one.

Read in this order: :mod:`.row`, :mod:`.table`, :mod:`.base`, :mod:`.classes`, :mod:`.messages`.
"""

from glioserve_contract.errors.base import GlioserveError
from glioserve_contract.errors.messages import DEAD_STAGE, NO_SHARED_MEMORY, find_code, read_message
from glioserve_contract.errors.row import ErrorRow, Retry, Status
from glioserve_contract.errors.table import ErrorCode

__all__ = [
    "DEAD_STAGE",
    "NO_SHARED_MEMORY",
    "ErrorCode",
    "ErrorRow",
    "GlioserveError",
    "Retry",
    "Status",
    "find_code",
    "read_message",
]
