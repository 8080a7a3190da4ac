"""The MRI sequences that the study method knows, and their order as registration reference."""

from enum import Enum


class Modality(str, Enum):
    """An MRI sequence of the study. Not DICOM's ``Modality`` attribute, which is ``MR`` for all of them."""

    T1 = "t1"
    T1CE = "t1ce"
    T2 = "t2"
    FLAIR = "flair"

    def __str__(self) -> str:
        return self.value


REGISTRATION_ORDER = (Modality.T1CE, Modality.T1, Modality.T2, Modality.FLAIR)
"""The first of these among a recipe's channels is the reference (Front Oncol 2025,
10.3389/fonc.2025.1573700: "T1ce > T1 > T2 > FLAIR")."""
