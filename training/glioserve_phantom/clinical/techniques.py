"""Ways to scan a sequence, as six makers' scanners run, name and code them.

Timings lie in the ranges of published brain protocols (Ellingson et al., Neuro-Oncology 2015;17:1188; ADNI; UK Biobank)
and the makers' habits are those of their DICOM conformance statements: GE and Philips write the gradient echo's own TR
into a prepared 3D scan, Siemens the time between inversions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from glioserve_contract import Modality
from glioserve_phantom.acquisition import ScanPlane
from glioserve_phantom.clinical.physics import Contrast, Pulse

MAKERS: Mapping[str, str] = {
    "SIEMENS": "SIEMENS",
    "GE": "GE MEDICAL SYSTEMS",
    "PHILIPS": "Philips Medical Systems",
    "CANON": "CANON_MEC",
    "UIH": "UIH",
    "HITACHI": "Hitachi, Ltd.",
}
"""Manufacturer by its short name here."""
_MAKERS = tuple(MAKERS)
_PLANES: dict[ScanPlane, tuple[str, str, str]] = {
    "axial": ("tra", "Ax", "TRA"),
    "sagittal": ("sag", "Sag", "SAG"),
    "coronal": ("cor", "Cor", "COR"),
}
_PLANE_STYLE = {"SIEMENS": 0, "GE": 1, "PHILIPS": 2, "CANON": 1, "UIH": 0, "HITACHI": 2}
AGENT_MARKS: Mapping[str, str] = {
    "SIEMENS": "{}_KM", "GE": "{} +C", "PHILIPS": "{} GD", "CANON": "{} CE", "UIH": "{} 增强", "HITACHI": "{} +GD",
}  # fmt: skip
"""Description of a scan after the agent, from its description before it, by maker."""
NATIVE_MARKS: Mapping[str, str] = {
    "SIEMENS": "{} nativ", "GE": "{} PRE", "PHILIPS": "{} without contrast", "CANON": "{} PRE", "UIH": "{} 平扫",
    "HITACHI": "{} -GD",
}  # fmt: skip
"""Description of a scan that says itself that it is before the agent, by maker."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Technique:
    """One way to scan, with what its headers hold at every maker."""

    name: str
    shows: Modality | None
    """Sequence of the method without regard to the agent: T1 for both; None for any other image."""
    pulse: Pulse
    scanning_sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    in_3d: bool
    repetition_time_ms: Range
    echo_time_ms: Range
    flip_angle_deg: float
    spacings_mm: tuple[float, ...]
    names: tuple[str, str, str, str, str, str]
    """SeriesDescription by maker, in the order of :data:`MAKERS`; ``{}`` stands for the plane's word."""
    siemens_name: str
    """SequenceName at Siemens."""
    inversion_time_ms: Range | None = None
    echo_train_length: int = 1
    fat_suppressed: bool = False
    planes: tuple[ScanPlane, ...] = ("axial",)
    b_value_s_mm2: float = 0.0


def _t1(name: str, pulse: Pulse, scanning: tuple[str, ...], **values: Any) -> Technique:
    return Technique(name, Modality.T1, pulse, scanning, **values)


TECHNIQUES: Mapping[str, Technique] = {
    t.name: t
    for t in (
        _t1("T1 spin echo", "spin echo", ("SE",), sequence_variant=("SP", "OSP"), in_3d=False,
            repetition_time_ms=(430, 640), echo_time_ms=(8, 14), flip_angle_deg=90, spacings_mm=(4.0, 5.0),
            names=("t1_se_{}", "{} T1 SE", "T1W_SE_{}", "T1 SE {}", "t1_se_{}", "T1 SE {}"), siemens_name="*se2d1",
            planes=("axial", "axial", "coronal")),
        _t1("T1 2D gradient echo", "gradient echo", ("GR",), sequence_variant=("SP", "OSP"), in_3d=False,
            repetition_time_ms=(200, 300), echo_time_ms=(2.4, 4.6), flip_angle_deg=70, spacings_mm=(4.0, 5.0, 5.5),
            names=("t1_fl2d_{}", "{} T1 GRE", "T1W_FFE_{}", "T1 FE2D {}", "t1_gre_2d_{}", "T1 GE {}"),
            siemens_name="*fl2d1"),
        _t1("T1 inversion recovery", "inversion spin echo", ("SE", "IR"), sequence_variant=("SK", "SP"), in_3d=False,
            repetition_time_ms=(1900, 2500), echo_time_ms=(9, 20), inversion_time_ms=(780, 950), flip_angle_deg=90,
            spacings_mm=(4.0, 5.0), echo_train_length=8,
            names=("t1_tirm_{}", "{} T1 FLAIR", "T1W_IR_TSE_{}", "T1 IR {}", "t1_fse_ir_{}", "T1 IR {}"),
            siemens_name="*tir2d1_9"),
        _t1("T1 3D prepared", "prepared gradient echo", ("GR", "IR"), sequence_variant=("SK", "SP", "MP"), in_3d=True,
            repetition_time_ms=(1800, 2300), echo_time_ms=(2.2, 3.4), inversion_time_ms=(880, 950), flip_angle_deg=8,
            spacings_mm=(2.5,), planes=("sagittal", "axial"),
            names=("t1_mprage_{}_p2_iso", "{} T1 BRAVO", "sT1W_3D_TFE_{}", "T1 3D MPRAGE {}", "t1_mprage_3d_{}",
                   "T1 3D MPRAGE {}"), siemens_name="*tfl3d1_16ns"),
        _t1("T1 3D gradient echo", "gradient echo", ("GR",), sequence_variant=("SP",), in_3d=True,
            repetition_time_ms=(6.5, 9.5), echo_time_ms=(2.6, 3.8), flip_angle_deg=15, spacings_mm=(2.5, 3.0),
            names=("t1_fl3d_{}", "{} T1 FSPGR", "T1W_3D_FFE_{}", "T1 3D FFE {}", "t1_gre_fsp_3d_{}", "T1 3D RSSG {}"),
            siemens_name="*fl3d1_ns"),
        _t1("T1 3D spin echo", "spin echo", ("SE",), sequence_variant=("SK", "SP"), in_3d=True,
            repetition_time_ms=(600, 700), echo_time_ms=(10, 20), flip_angle_deg=120, spacings_mm=(2.5,),
            echo_train_length=40, planes=("sagittal", "axial"),
            names=("t1_space_{}_iso", "{} CUBE T1", "3D T1W VISTA {}", "T1 3D MVOX {}", "t1_mx3d_{}",
                   "T1 3D isoFSE {}"), siemens_name="*spc_45ns"),
        _t1("T1 fat-suppressed", "gradient echo", ("GR",), sequence_variant=("SP",), in_3d=True,
            repetition_time_ms=(4.6, 6.0), echo_time_ms=(2.2, 2.6), flip_angle_deg=12, spacings_mm=(3.0,),
            fat_suppressed=True,
            names=("t1_vibe_fs_{}", "{} T1 LAVA FS", "T1W_THRIVE_{} SPIR", "T1 3D FS {}", "t1_quick3d_fs_{}",
                   "T1 TIGRE FS {}"), siemens_name="*fl3d1"),
        Technique("T2", Modality.T2, "spin echo", ("SE",), ("SK", "SP"), False, (3600, 5400), (85, 108), 150,
                  (4.0, 5.0), ("t2_tse_{}", "{} T2 FSE", "T2W_TSE_{}", "T2 FSE {}", "t2_fse_{}", "T2 FSE {}"),
                  "*tse2d1_15", echo_train_length=15),
        Technique("FLAIR", Modality.FLAIR, "inversion spin echo", ("SE", "IR"), ("SK", "SP"), False, (7800, 9400),
                  (90, 125), 150, (4.0, 5.0),
                  ("t2_tirm_{}_dark-fluid", "{} T2 FLAIR", "FLAIR_{}", "FLAIR {}", "t2_flair_{}", "FLAIR {}"),
                  "*tir2d1_16", inversion_time_ms=(2200, 2550), echo_train_length=17),
        Technique("FLAIR 3D", Modality.FLAIR, "inversion spin echo", ("SE", "IR"), ("SK", "SP"), True, (4800, 5200),
                  (120, 135), 120, (2.5,),
                  ("t2_space_flair_{}", "{} CUBE FLAIR", "3D FLAIR {}", "3D FLAIR {}", "t2_flair_3d_{}", "3D FLAIR {}"),
                  "*spcir_242ns", inversion_time_ms=(1650, 1800), echo_train_length=200, planes=("sagittal",)),
        Technique("proton density", None, "spin echo", ("SE",), ("SK", "SP"), False, (2800, 3400), (10, 18), 150,
                  (4.0, 5.0), ("pd_tse_{}", "{} PD FSE", "PDW_TSE_{}", "PD FSE {}", "pd_fse_{}", "PD FSE {}"),
                  "*tse2d1_5", echo_train_length=5),
        Technique("T2*", None, "gradient echo", ("GR",), ("SP",), False, (550, 750), (18, 25), 20, (5.0,),
                  ("t2_fl2d_{}_hemo", "{} T2* GRE", "T2W_FFE_{}", "T2* {}", "t2star_gre_{}", "T2* GE {}"), "*fl2d1"),
        Technique("diffusion", None, "diffusion", ("EP",), ("SK", "SP"), False, (4800, 6500), (75, 95), 90, (5.0,),
                  ("ep2d_diff_3scan_trace_p2", "{} DWI b1000", "DWI_b1000", "DWI {}", "epi_dwi_{}", "DWI {}"),
                  "*ep_b1000t", fat_suppressed=True, b_value_s_mm2=1000),
        Technique("field map", None, "gradient echo", ("GR",), ("SP",), False, (450, 620), (4.6, 5.2), 60, (4.0,),
                  ("gre_field_mapping", "{} B0 map", "B0MAP", "B0 map {}", "gre_fieldmap", "B0 map {}"), "*fm2d2r"),
        Technique("scout", None, "gradient echo", ("GR",), ("SP", "OSP"), True, (3.0, 3.4), (1.3, 1.6), 8, (3.2,),
                  ("AAHead_Scout", "3Plane Loc SSFSE", "SURVEY", "Locator", "scout", "SCANOGRAM"), "*fl3d1_ns",
                  planes=("sagittal",)),
    )
}  # fmt: skip
"""Every technique by its name."""
NATIVE_T1 = ("T1 spin echo", "T1 2D gradient echo", "T1 inversion recovery", "T1 3D prepared", "T1 3D gradient echo")
ENHANCED_T1 = ("T1 spin echo", "T1 3D prepared", "T1 3D gradient echo", "T1 3D spin echo", "T1 fat-suppressed")
"""Usual techniques before and after the agent."""


@dataclass(frozen=True)
class Drawn:
    """One draw of a technique: what the scanner does, and what it writes."""

    technique: Technique
    contrast: Contrast
    attributes: Mapping[str, Any]
    """Values by DICOM keyword."""
    plane: ScanPlane
    spacing_mm: float


def draw(
    technique: Technique,
    maker: str,
    rng: np.random.Generator,
    *,
    field_tesla: float = 1.5,
    plane: ScanPlane | None = None,
    inflow: float = 0.0,
) -> Drawn:
    """Draw one scan by ``technique`` on a scanner of ``maker`` (:data:`MAKERS`), before any contrast agent."""
    chosen: ScanPlane = plane or technique.planes[int(rng.integers(len(technique.planes)))]
    tr, te = (_tenths(rng, limits) for limits in (technique.repetition_time_ms, technique.echo_time_ms))
    ti = _tenths(rng, technique.inversion_time_ms) if technique.inversion_time_ms else 0.0
    contrast = Contrast(
        technique.pulse, tr, te, ti, technique.flip_angle_deg, field_tesla, 0.0, inflow,
        "suppressed" if technique.fat_suppressed else "all", technique.b_value_s_mm2,
    )  # fmt: skip
    attributes: dict[str, Any] = {
        "Manufacturer": MAKERS[maker],
        "MagneticFieldStrength": field_tesla,
        "ScanningSequence": list(technique.scanning_sequence),
        "SequenceVariant": list(technique.sequence_variant),
        "ScanOptions": "FS" if technique.fat_suppressed else "",
        "MRAcquisitionType": "3D" if technique.in_3d else "2D",
        "RepetitionTime": tr,
        "EchoTime": te,
        "FlipAngle": technique.flip_angle_deg,
        "EchoTrainLength": technique.echo_train_length,
        "ImageType": image_type(maker, technique),
    }
    if ti:
        attributes["InversionTime"] = ti
    if technique.pulse == "prepared gradient echo" and maker in ("GE", "PHILIPS"):  # they write the echoes' own TR
        attributes |= {"RepetitionTime": _tenths(rng, (7.0, 8.6)), "ScanningSequence": ["GR"], "FlipAngle": 12}
        attributes["InversionTime"] = 450 if maker == "GE" else None
    name = technique.names[_MAKERS.index(maker)].format(_PLANES[chosen][_PLANE_STYLE[maker]])
    attributes |= {"SeriesDescription": name, "ProtocolName": name if maker != "GE" else "BRAIN W WO"}
    if maker == "SIEMENS":
        attributes["SequenceName"] = technique.siemens_name
    spacing_mm = float(rng.choice(technique.spacings_mm))
    return Drawn(technique, contrast, {k: v for k, v in attributes.items() if v is not None}, chosen, spacing_mm)


def image_type(maker: str, technique: Technique) -> list[str]:
    """Return ImageType as the maker writes it for an original magnitude image."""
    if maker == "SIEMENS":
        return ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]
    if maker == "PHILIPS":
        kind = "IR" if "IR" in technique.scanning_sequence else "FFE" if "GR" in technique.scanning_sequence else "SE"
        return ["ORIGINAL", "PRIMARY", f"M_{kind}", "M", kind]
    return ["ORIGINAL", "PRIMARY", "OTHER"]


def _tenths(rng: np.random.Generator, limits: Range) -> float:
    return round(float(rng.uniform(*limits)), 1)
