"""The MRI sequences of the method as one table: names, tensors, order, and what headers and descriptions call them.

The reader of descriptions (:mod:`glioserve_dicom.words`), the allow-list of what is sent
(:mod:`glioserve_dicom.identity`), the choice of series (:mod:`glioserve_preprocess.series`), the wire
(:mod:`glioserve_contract.tensors`) and the import of bundles read it. ``docs/adding-a-sequence.md`` lists the files
that a further sequence touches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType


class Modality(str, Enum):
    """An MRI sequence of the study. Not DICOM's ``Modality`` attribute, which is ``MR`` for all of them."""

    T1 = "t1"
    T1CE = "t1ce"
    T2 = "t2"
    FLAIR = "flair"

    def __str__(self) -> str:
        return self.value


class Weighting(str, Enum):
    """The part of a sequence that headers show without the contrast agent: T1 stands for T1 and T1ce."""

    T1 = "T1"
    T2 = "T2"
    FLAIR = "FLAIR"
    OTHER = "another sequence"


class PixelKind(str, Enum):
    """The kind of image that a series looks like, by its voxels alone."""

    T1 = "T1"
    T1CE = "T1ce"
    T2 = "T2"
    FLAIR = "FLAIR"
    PD = "PD"
    DIFFUSION = "diffusion"
    PERFUSION = "perfusion"
    """Perfusion and other gradient-echo EPI, and maps of blood flow or volume."""
    ANGIOGRAPHY = "angiography"
    OTHER = "other"
    """Any other: STIR, susceptibility images, subtractions, maps, noise, no head."""
    SCOUT = "scout"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class SequenceEntry:
    """One row of :data:`SEQUENCES`."""

    weighting: Weighting
    enhanced: bool | None
    """True after the contrast agent, False before it, None where one sequence stands for both."""
    volume_tensor: str
    """Name of the wire tensor that holds the sequence's voxels."""
    affine_tensor: str
    """Name of the wire tensor that holds the affine of those voxels."""
    reference_rank: int
    """Place in the order in which sequences are taken as registration reference; 0 is the first choice."""
    channel_names: tuple[str, ...]
    """Names of the sequence in other projects' channel definitions, lower case, without punctuation."""


SEQUENCES: Mapping[Modality, SequenceEntry] = MappingProxyType(
    {
        Modality.T1: SequenceEntry(Weighting.T1, False, "T1", "T1_AFFINE", 1, ("t1", "t1w", "t1n")),
        Modality.T1CE: SequenceEntry(
            Weighting.T1, True, "T1CE", "T1CE_AFFINE", 0, ("t1ce", "t1c", "t1gd", "t1wce", "t1post")
        ),
        Modality.T2: SequenceEntry(Weighting.T2, None, "T2", "T2_AFFINE", 2, ("t2", "t2w")),
        Modality.FLAIR: SequenceEntry(
            Weighting.FLAIR, None, "FLAIR", "FLAIR_AFFINE", 3, ("flair", "t2flair", "t2f")
        ),
    }
)  # fmt: skip
"""Every sequence of the method, in the order of the wire's tensors; their number is the most channels of a recipe."""

REGISTRATION_ORDER: tuple[Modality, ...] = tuple(sorted(SEQUENCES, key=lambda m: SEQUENCES[m].reference_rank))
"""The first of these among a recipe's channels is the reference (Front Oncol 2025,
10.3389/fonc.2025.1573700: "T1ce > T1 > T2 > FLAIR")."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True)
class WeightingEntry:
    """One row of :data:`WEIGHTINGS`: the marks by which headers and descriptions name a weighting."""

    words: frozenset[str]
    """Words of a description that name it."""
    hints: frozenset[str] = frozenset()
    """Words, mostly names of pulse sequences, that make it likely."""
    anchors: tuple[str, ...] = ()
    """Words beside which others may stand without a space (``AXT1POST``)."""
    spellings: Mapping[str, str] = field(default_factory=dict)
    """Other spellings, and the words that replace them."""
    terms: Mapping[str, str] = field(default_factory=dict)
    """Terms of scripts without word boundaries, and the words that replace them."""
    image_types: tuple[str, ...] = ()
    """Values of ImageType, FrameType and AcquisitionContrast that name it."""
    scan_options: tuple[str, ...] = ()
    """Values of ScanOptions that name it."""
    inversion_time_ms: tuple[float, float] = (math.inf, -math.inf)
    """Least and largest TI; an empty range where the sequence has no inversion."""


WEIGHTINGS: Mapping[Weighting, WeightingEntry] = MappingProxyType(
    {
        Weighting.T1: WeightingEntry(
            words=_words("t1 t1w t1wi mprage memprage mp2rage spgr fspgr irfspgr irspgr efgre3d bravo t1tfe t1ffe"),
            # T1-weighted as a rule
            hints=_words("tfl tfl3d vibe lava thrive fl3d fl2d tfe flash turboflash se2d"),
            anchors=("t1", "mprage"),
            spellings={
                "t1c": "t1 +c", "t1ce": "t1 ce", "ct1": "t1 +c", "t1we": "t1w", "t1weighted": "t1 weighted",
            },
            image_types=("T1",),
            inversion_time_ms=(300.0, 1400.0),  # MP-RAGE 800 to 1100, IR-SPGR 400 to 900, T1-FLAIR 650 to 1100
        ),
        Weighting.T2: WeightingEntry(
            words=_words("t2 t2w t2wi"),
            hints=_words("haste h2d ssfse"),
            anchors=("t2",),
            spellings={"t2we": "t2w", "t2weighted": "t2 weighted"},
            image_types=("T2",),
        ),
        Weighting.FLAIR: WeightingEntry(
            words=_words("flair darkfluid"),
            # inversion recovery by name; Siemens' tirm is a STIR as well
            hints=_words("tirm tir tir2d spcir fluid brainview"),
            anchors=("flair",),
            terms={"压水": "flair", "抑水": "flair", "水抑制": "flair", "黑水": "flair"},
            image_types=("FLAIR", "FLUID_ATTENUATED"),
            scan_options=("T2FLAIR_GEMS",),
            inversion_time_ms=(1400.0, 3500.0),  # fluid is nulled at 1650 to 2850 ms, the shorter the shorter TR is
        ),
    }
)  # fmt: skip
"""Marks of each weighting that the method knows; :attr:`Weighting.OTHER` has none of its own."""

OTHER_IMAGE_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        kind: _words(words)
        for kind, words in {
            "a localiser": "localizer localiser localizador localizzatore lokalizer scout survey loc scano topogram "
            "reperage centrage 3plane plan planscan quickscan autoalign pilot",
            "diffusion": "dwi dti dki adc eadc trace tracew diffusion diffusione difusion difusao diff noddi tensor "
            "hardi b0 b500 b800 b1000 b1500 b2000 b3000 colfa resolve ivim",
            "susceptibility or T2*": "swi swan swip venobold hemo qsm t2star minip medic swi3d mpgr fsbb",
            "perfusion": "perfusion perf dsc dce asl pasl pcasl cbf cbv rcbf rcbv rbf rbv relcbf "
            "relcbv relmtt mtt ttp tmax pwi pbp gbp ktrans kep iauc washin washout permeability leakage",
            "angiography": "mra mrv tof tof2d tof3d angio angiography angiografia venography venographie pca cemra "
            "twist tricks inhance carotid carotis carotide carebolus smartprep bolustrak",
            "spectroscopy": "mrs spectroscopy svs csi spektroskopie",
            "functional imaging": "fmri bold rsfmri epfid2d",
            "echo-planar": "epi epi2d epi3d ep2d ep3d ep epse2d epse3d epfid3d",
            "a computed image": "subtraction subtraktion sub mip projection proj composed derived fusion screensave "
            "screenshot keyimage syngo mobiview report segmentation segmented segmentierung parcellation overlay "
            "heatmap",
            "a proton-density image": "pd pdw pdwi",
            "STIR": "stir",
            "double inversion recovery": "dir",
            "inversion recovery that nulls white matter": "fgatir wmn wmnmprage",
            "a phase-sensitive inversion recovery": "psir",
            "a steady state": "ciss ci2d ci3d fiesta trufi truefisp bffe btfe ssfp bssfp truessfp cosmic dess de3d "
            "psif ps3d",
            "calibration or a field map": "fieldmap b0map b1map calibration asset refscan coilsurvey smartbrain "
            "prescan shim fm2d phasemap topup distcorr mrac",
            "a fat or opposed-phase image of a Dixon acquisition": "opposed fatonly",
            "a quantitative map": "map maps mapping t1map t2map mapit symri synthetic relaxometry magic syntac molli "
            "qt1 qt2 qpd",
            "flow or motion": "mre elastography csf cine",
        }.items()
    }
)
"""Words of descriptions that name another kind of image; the first kind that matches is the reason given."""

OTHER_IMAGE_TYPES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        kind: frozenset(types.split(","))
        for kind, types in {
            "a localiser": "LOCALIZER",
            "diffusion": "ADC,EADC,TRACEW,FA,DIFFUSION",
            "a projection": "MIP,MNP,MINIP,MIN,MAX,PROJECTION,PROJECTION IMAGE,MAX_IP,MIN_IP,VOLUME_RENDER,"
            "SURFACE_RENDER,MIN IP,MAX IP,PJN",
            "a subtraction": "SUB,SUBTRACT,SUBTRACTED,SUBTRACTION",
            "phase or complex parts": "PHASE,P,PHASE MAP,REAL,IMAGINARY,R,I,VELOCITY MAP,PCA,M_PCA,FLOW_ENCODED,"
            "PHASE_MAP,P_FFE,P_SE,P_IR,P_PCA,R_FFE,R_SE,R_IR,I_FFE,I_SE,I_IR,SW_P_FFE",
            "perfusion": "ASL,RCBF,RCBV,RELCBV,RELCBF,RELMTT,MTT,TTP,PBP,PERFUSION",
            "susceptibility or T2*": "SWI,SW_M_FFE,T2_STAR",
            "angiography": "ANGIO,TOF",
            "functional imaging": "FMRI",
            "a quantitative map": "T1 MAP,T2 MAP,PD MAP,T2_STAR MAP,R1 MAP,R2 MAP,R2_STAR MAP,R1_MAP,R2_MAP,PD_MAP,"
            "R2_STAR_MAP,R1,SYNTHETIC,MAGIC,B0,B1,B0 MAP,B1 MAP,FIELD MAP,MAP,T1_MAP,T2_MAP,M_B0,"
            "M_B1,B0_MAP,B1_MAP,FIELD_MAP,R2,R2_STAR,FF,FAT_FRACTION",
            "an inversion image of MP2RAGE": "INV1,INV2",
            "a fat or opposed-phase image of a Dixon acquisition": "FAT,F,OUT_PHASE,OPP_PHASE,OP,OPP,OUT,"
            "OUTPHASE,OPPOSED_PHASE,OUT_OF_PHASE,OPPOSED,F_FFE,OP_FFE,OPP_FFE,F_TSE,OP_TSE,F_SE,OP_SE,DIXON_FAT,"
            "DIXON_F,DIXON_OP,DIXON_OPP,DIXON_OUT,FAT_ONLY,FAT_IMAGE,IDEAL_FAT,FATONLY",
            "a proton-density image": "PROTON_DENSITY",
            "STIR": "STIR",
            "a screenshot": "SCREENSAVE,SCREEN SAVE,CSA REPORT",
            "tagging": "TAGGED,TAGGING",
        }.items()
    }
)
"""Image types that name another kind of image; the first kind that matches is the reason given."""

MOSAIC_IMAGE_TYPES: frozenset[str] = frozenset({"MOSAIC", "VFRAME"})
"""Image types of images that tile a volume: Siemens' and United Imaging's (dcm2niix, UIH notes)."""

SEQUENCE_IMAGE_TYPES: frozenset[str] = frozenset(
    image_type for entry in WEIGHTINGS.values() for image_type in entry.image_types
).union(MOSAIC_IMAGE_TYPES, *OTHER_IMAGE_TYPES.values())
"""All image types that are read from; the client sends them."""
SEQUENCE_SCAN_OPTIONS: frozenset[str] = frozenset(
    option for entry in WEIGHTINGS.values() for option in entry.scan_options
)
"""All scan options that name a weighting; the client sends them."""
