"""One exception class for each code of the table, beside the base and the families.

The names are made at import; ``classes.pyi``, which ``make docs`` writes, has them for editors and type checkers.
"""

from glioserve_contract.errors import base
from glioserve_contract.errors.table import ErrorCode

_CLASSES = {
    **{family.__name__: family for family in base.families().values()},
    **{base.class_of(code).__name__: base.class_of(code) for code in ErrorCode},
}
globals().update(_CLASSES)
__all__ = sorted(_CLASSES)
