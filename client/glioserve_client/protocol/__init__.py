"""Messages and methods of KServe's inference protocol v2, from the descriptor beside this file.

The messages live in a pool of their own: other packages in the process (tritonclient, kserve) may register the same
names. They are made at import, so that any protobuf of the supported range reads them.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "inference.GRPCInferenceService"
DESCRIPTOR_SET = "inference.binpb"
_pool = DescriptorPool()
for _file in FileDescriptorSet.FromString(files(__name__).joinpath(DESCRIPTOR_SET).read_bytes()).file:
    _pool.Add(_file)  # type: ignore[no-untyped-call]


def message(name: str) -> Any:
    """Return the class of a message, such as ``ModelInferRequest``."""
    return GetMessageClass(_pool.FindMessageTypeByName(f"inference.{name}"))  # type: ignore[no-untyped-call]


def method(name: str) -> str:
    """Return the path of a method, such as ``ModelInfer``."""
    return f"/{SERVICE}/{name}"
