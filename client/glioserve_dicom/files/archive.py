"""Unpack a study that was handed in as zip archives, in memory and within bounds.

Nothing is written to disk, so names inside an archive lead nowhere. The sizes that an archive states are not
believed; archives within archives are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from glioserve_contract.errors import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_INSTANCES, MAX_REQUEST_BYTES

MAX_ARCHIVE_FILES = 4 * MAX_INSTANCES
"""Most files in one archive, of any kind; one that holds more is not a study's."""
_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of an archive with files, and of an empty one."""
_DIRECTORY_ENTRY = b"PK\x01\x02"
_ENCRYPTED = 0x1
_DICOM_PREFIX_AT = 128
_PIECE_BYTES = 1 << 20


def is_archive(content: bytes) -> bool:
    """Return whether the bytes are a zip archive, and not a DICOM file with an odd preamble."""
    return content.startswith(_STARTS) and content[_DICOM_PREFIX_AT : _DICOM_PREFIX_AT + 4] != b"DICM"


def unpack(content: bytes, where: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of each file in the archive, hidden ones left out, in the order of their names.

    Names stay out of messages, as they may carry a patient's.

    Args:
        content: the archive.
        where: start of messages, such as ``File 3 of 9``.

    Raises:
        StudyTooLargeError: GLIO-1104 for an archive over the limits.
        InvalidArchiveError: GLIO-1214 for one that is damaged, encrypted or nested.
    """
    if content.count(_DIRECTORY_ENTRY) > MAX_ARCHIVE_FILES:  # before zipfile makes an object of each
        raise _too_large(where)
    try:
        yield from _unpack(content, where)
    except GlioserveError:
        raise
    except Exception:  # noqa: BLE001 - zipfile and zlib raise many kinds on a damaged archive
        raise GlioserveError(ErrorCode.INVALID_ARCHIVE, f"{where} cannot be unpacked.") from None


def _unpack(content: bytes, where: str) -> Iterator[tuple[str, bytes]]:
    with ZipFile(BytesIO(content)) as archive:
        members = sorted((m for m in archive.infolist() if _is_visible(m)), key=lambda m: m.filename)
        room = MAX_REQUEST_BYTES
        for number, member in enumerate(members, 1):
            what = f"{where}: file {number} of {len(members)} in it"
            if member.flag_bits & _ENCRYPTED:
                raise GlioserveError(ErrorCode.INVALID_ARCHIVE, f"{what} is encrypted.")
            if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                raise GlioserveError(ErrorCode.INVALID_ARCHIVE, f"{what} is packed by a method other than deflate.")
            unpacked = _read(archive, member, room, where)
            room -= len(unpacked)
            if is_archive(unpacked):
                raise GlioserveError(ErrorCode.INVALID_ARCHIVE, f"{what} is an archive again.")
            yield member.filename, unpacked


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is passed over: hidden, or what macOS adds to archives."""
    return name.startswith((".", "__MACOSX"))


def _is_visible(member: ZipInfo) -> bool:
    return not member.is_dir() and not any(map(is_hidden, member.filename.split("/")))


def _read(archive: ZipFile, member: ZipInfo, room: int, where: str) -> bytes:
    unpacked = BytesIO()  # grows in place: joining pieces would take their memory twice
    with archive.open(member) as file:
        while piece := file.read(_PIECE_BYTES):
            room -= len(piece)
            if room < 0:
                raise _too_large(where)
            unpacked.write(piece)
    return unpacked.getvalue()


def _too_large(where: str) -> GlioserveError:
    detail = f"{where} holds over {MAX_ARCHIVE_FILES} files or {MAX_REQUEST_BYTES >> 20} MiB."
    return GlioserveError(ErrorCode.STUDY_TOO_LARGE, detail)
