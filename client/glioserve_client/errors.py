"""Every exception of the client: the contract's classes, one for each code, below the families of codes.

``docs/errors.md`` draws the tree. Catch as wide as you need: ``StudyError`` when the study must change,
``error.retryable`` when sending it again may help, one code's class when you can do something about it. A message
never carries patient data.
"""

from glioserve_contract.errors import classes
from glioserve_contract.errors.base import GlioserveError
from glioserve_contract.errors.classes import *  # noqa: F403 - each name stands in classes.pyi

CodedError = GlioserveError
"""Earlier name of :class:`GlioserveError`, from when the client alone had classes."""

__all__ = ["CodedError"]
__all__ += classes.__all__
