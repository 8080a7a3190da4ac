"""Header combinations as scanners write them, what each must be taken for, and where the combination is documented.

Written for these tests from standards and public documents; no row is a file. ``source`` documents what makes the row
worth having: the sequence's name, its code, or its timings. Numbers that the source does not give are usual ones for
that sequence, chosen by us. Expectations are of one series alone, before its study is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

T1, T1CE, T2, FLAIR = "t1", "t1ce", "t2", "flair"
OPEN = "T1-weighted, contrast open"
"""T1 or T1ce: the rest of the study, or the images, have to tell."""
EXCLUDED = "excluded"
"""Certainly none of the four, with the reason."""
AMBIGUOUS = "ambiguous"
"""No candidate, because what is said is too little or contradicts itself."""

MR = "DICOM PS3.3 C.8.3.1 (MR Image Module)"
EMR = "DICOM PS3.3 C.8.13 (Enhanced MR Image IOD's modules and macros)"
BOLUS = "DICOM PS3.3 C.7.6.4 (Contrast/Bolus Module)"
EBOLUS = "DICOM PS3.3 C.7.6.4b and C.7.6.16.2.12 (Enhanced Contrast/Bolus, Contrast/Bolus Usage)"
IMAGE_TYPE = "DICOM PS3.3 C.7.6.1.1.2 and C.8.3.1.1.1 (Image Type)"
BTIP = "Ellingson et al., Neuro-Oncology 2015;17:1188 (standardised brain tumour imaging protocol)"
BTIP_BM = "Kaufmann et al., Neuro-Oncology 2020;22:757 (protocol for brain metastases)"
ACRIN = "ACRIN 6686 / RTOG 0825 protocol, as tabulated in PMC7968800, Table 3"
UKB = "Alfaro-Almagro et al., NeuroImage 2018;166:400, Table 1 (UK Biobank)"
HCP = "Glasser et al., NeuroImage 2013;80:105 (Human Connectome Project)"
ADNI1 = "Jack et al., J Magn Reson Imaging 2008;27:685 (ADNI MRI methods)"
ADNI3 = "ADNI, 'MRI Acquisition' page (ADNI GO/2 and 3 scan lists)"
ACRONYMS = "Siemens Healthineers, 'MRI Acronyms' (sequence names by vendor)"
GE_CS = "GE Healthcare, DICOM Conformance Statement for SIGNA MR (…_GEMS scan options, Image Type)"
PHILIPS_CS = "Philips, DICOM Conformance Statement MR Achieva R3.2 (4522 205 02161, 2011)"
SIEMENS_CS = "Siemens, DICOM Conformance Statement for MAGNETOM syngo MR (Image Type, Sequence Name)"
CANON_CS = "Canon (Toshiba), DICOM Conformance Statement for Vantage MR"
HITACHI_CS = "Hitachi, DICOM Conformance Statement OASIS V4.0"
UIH_CS = "United Imaging, DICOM Conformance Statement for uMR"
MP2RAGE = "Marques et al., NeuroImage 2010;49:1271; series names as in neurolabusc/dcm_qa_mprage"
TCIA = "TCGA-LGG at The Cancer Imaging Archive (series descriptions of TCGA-FG-6692 and others)"
DS117 = "OpenNeuro ds000117, acq-mprage_T1w.json"
FLAIR_0 = "github.com/open-dicom/siemens_flair_0, README"
SHAPE = "huggingface.co/datasets/Fudan-fMRI/fMRI-Shape, sidecars"
GE_TEST = "github.com/nih-fmrif/ge_test_dataset, 20180907-26974/mr_0004/README-Series.txt"
DCM2NIIX = "github.com/rordenlab/dcm2niix, vendor notes"
QA_CS_DL = "github.com/neurolabusc/dcm_qa_cs_dl (Philips T1W_FFE, T1W_TSE)"
QA_DECUBITUS = "github.com/neurolabusc/dcm_qa_decubitus (Siemens t1_fl2d_sag)"

SE, GR, SE_IR, GR_IR, EP_SE = ["SE"], ["GR"], ["SE", "IR"], ["GR", "IR"], ["EP", "SE"]


@dataclass(frozen=True)
class Row:
    """One combination. ``groups``: the attributes that an enhanced image has in functional groups, by macro."""

    name: str
    expected: str
    source: str
    header: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)

    def dataset(self) -> Dataset:
        """The header as a data set."""
        dataset = Dataset()
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.SOPClassUID = EnhancedMRImageStorage if self.groups else MRImageStorage
        for keyword, value in self.header.items():
            setattr(dataset, keyword, value)
        if self.groups:
            shared = Dataset()
            for macro, attributes in self.groups.items():
                item = Dataset()
                for keyword, value in attributes.items():
                    setattr(item, keyword, value)
                setattr(shared, macro, [item])
            dataset.NumberOfFrames = 1
            dataset.SharedFunctionalGroupsSequence = [shared]
            dataset.PerFrameFunctionalGroupsSequence = [Dataset()]
        return dataset


def row(name: str, expected: str, source: str, **header: Any) -> Row:
    """A classic image. Short names: tr, te, ti, fa, etl, seq, desc, protocol, name_of_sequence, agent, maker."""
    short = {
        "tr": "RepetitionTime", "te": "EchoTime", "ti": "InversionTime", "fa": "FlipAngle", "etl": "EchoTrainLength",
        "seq": "ScanningSequence", "variant": "SequenceVariant", "options": "ScanOptions", "desc": "SeriesDescription",
        "protocol": "ProtocolName", "psd": "SequenceName", "agent": "ContrastBolusAgent", "maker": "Manufacturer",
        "kind": "ImageType", "dim": "MRAcquisitionType", "part": "BodyPartExamined", "tesla": "MagneticFieldStrength",
    }  # fmt: skip
    return Row(name, expected, source, {short.get(k, k): v for k, v in header.items()})


def enhanced(
    name: str, expected: str, source: str, *, tr: float, te: float, ti: float | None = None, fa: float = 90,
    frame_type: list[str] | None = None, contrast: str = "", administered: str = "", **header: Any,
) -> Row:  # fmt: skip
    """An enhanced image: timings, frame type and use of the agent stand in functional groups."""
    groups: dict[str, dict[str, Any]] = {
        "MRTimingAndRelatedParametersSequence": {"RepetitionTime": tr, "FlipAngle": fa},
        "MREchoSequence": {"EffectiveEchoTime": te},
    }
    if ti is not None:
        groups["MRModifierSequence"] = {"InversionRecovery": "YES", "InversionTimes": [ti]}
    if frame_type or contrast:
        kind = {"FrameType": frame_type or ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]}
        groups["MRImageFrameTypeSequence"] = {**kind, **({"AcquisitionContrast": contrast} if contrast else {})}
    if administered:
        groups["ContrastBolusUsageSequence"] = {"ContrastBolusAgentAdministered": administered}
    return Row(name, expected, source, header, groups)


SIEMENS, GE, PHILIPS, CANON = "SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems", "CANON_MEC"
TOSHIBA, HITACHI, UIH = "TOSHIBA_MEC", "Hitachi Medical Corporation", "UIH"

T1_WEIGHTED = [
    row("Siemens MP-RAGE, native by its agent", T1, DS117, maker=SIEMENS, tesla=3, desc="CBU_MPRAGE", psd="*tfl3d1_ns",
        seq=GR_IR, variant=["SP", "MP", "OSP"], dim="3D", tr=2250, te=2.98, ti=900, fa=9, agent="NONE"),
    row("Siemens MP-RAGE, silent", OPEN, UKB, maker=SIEMENS, tesla=3, desc="T1_p2_1mm_fov256_sag_TI_880",
        psd="*tfl3d1_16ns", seq=GR_IR, dim="3D", tr=2000, te=2.01, ti=880, fa=8),
    row("HCP MP-RAGE, TI 1000", OPEN, HCP, maker=SIEMENS, tesla=3, desc="T1w_MPR1", psd="*tfl3d1_16ns", seq=GR_IR,
        dim="3D", tr=2400, te=2.14, ti=1000, fa=8),
    row("MP-RAGE after contrast, German", T1CE, BTIP, maker=SIEMENS, tesla=3, desc="t1_mprage_tra_KM", psd="*tfl3d1_16",
        seq=GR_IR, dim="3D", tr=2100, te=2.4, ti=900, fa=8, agent="Gadovist"),
    row("MP-RAGE at 1.5 T after contrast", T1CE, BTIP, maker=SIEMENS, tesla=1.5, desc="t1_mpr_3d_sag post", seq=GR_IR,
        dim="3D", tr=2100, te=3.9, ti=1100, fa=15),
    row("GE IR-SPGR with the gradient echo's TR", OPEN, ADNI3, maker=GE, tesla=3, desc="Sagittal IR-FSPGR", seq=GR,
        options=["FAST_GEMS", "EDR_GEMS", "IR_GEMS"], dim="3D", tr=7.3, te=3.0, ti=400, fa=11),
    row("GE IR-SPGR at TI 900, header only", OPEN, ADNI1, maker=GE, tesla=1.5, seq=["GR"], variant=["SS", "SP", "SK"],
        options=["EDR_GEMS", "IR_GEMS"], dim="3D", tr=8.6, te=3.8, ti=900, fa=8),
    row("GE BRAVO after contrast", T1CE, ACRONYMS, maker=GE, tesla=3, desc="Ax T1 BRAVO +C", seq=GR, dim="3D", tr=8.2,
        te=3.2, ti=450, fa=12),
    row("GE MP-RAGE", OPEN, ADNI3, maker=GE, tesla=3, desc="Accelerated Sag MPRAGE", seq=GR_IR, dim="3D", tr=2300, te=3,
        ti=1000, fa=8),
    row("GE T1 FLAIR after contrast", T1CE, TCIA, maker=GE, tesla=1.5, desc="AX T1 POST GD FLAIR", seq=SE_IR, dim="2D",
        tr=2300, te=9, ti=860, fa=90),
    row("GE T1 FLAIR, silent", OPEN, ACRONYMS, maker=GE, tesla=3, desc="Sag T1 FLAIR", seq=SE_IR, dim="2D", tr=2600,
        te=24, ti=900, etl=8),
    row("GE T1 FLAIR, header only", OPEN, ACRONYMS, maker=GE, tesla=3, seq=SE_IR, dim="2D", tr=2400, te=20, ti=1000),
    row("Siemens T1 dark fluid", OPEN, ACRONYMS, maker=SIEMENS, tesla=3, desc="t1_tirm_tra_dark-fluid",
        psd="*tir2d1_7", seq=SE_IR, dim="2D", tr=2000, te=9, ti=860),
    row("Spin echo before contrast", T1, TCIA, maker=GE, tesla=1.5, desc="AX T1 PRE", seq=SE, dim="2D", tr=500, te=14),
    row("Spin echo after contrast", T1CE, TCIA, maker=SIEMENS, tesla=1.5, desc="MRHR T1 AX POST GAD", psd="*se2d1r",
        seq=SE, dim="2D", tr=450, te=10, agent="MAGNEVIST"),
    row("Spin echo, timings and agent only (de-identified)", T1CE, ACRIN, maker=GE, seq=SE, tr=600, te=12, agent="YES"),
    row("Turbo spin echo at 3 T", OPEN, ACRIN, maker=PHILIPS, tesla=3, desc="T1W_TSE_TRA", seq=SE, dim="2D", tr=680,
        te=10, fa=90, etl=4),
    row("Philips T1 FFE, 2D, TR 256", OPEN, QA_CS_DL, maker="Philips", desc="T1W_FFE_Sno_CS4", seq=GR, variant=["SS"],
        options=["OTHER"], dim="2D", kind=["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"], tr=256.44, te=3.568, fa=80),
    row("Siemens FLASH 2D, TR 300", OPEN, QA_DECUBITUS, maker=SIEMENS, desc="t1_fl2d_sag", psd="*fl2d1", seq=GR,
        variant=["SP", "OSP"], dim="2D", kind=["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"], tr=300, te=2.46, fa=80),
    row("Philips 3D T1-TFE after contrast", T1CE, PHILIPS_CS, maker=PHILIPS, tesla=3, desc="sT1W_3D_TFE_ce", seq=GR,
        kind=["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"], dim="3D", tr=8.1, te=3.7, fa=8, agent="GADOVIST"),
    row("Philips 3D T1-TFE, agent NO", T1, PHILIPS_CS, maker=PHILIPS, desc="T1W_3D_TFE", seq=GR, dim="3D", tr=8.1,
        te=3.7, fa=8, agent="NO"),
    row("SPACE T1 after contrast", T1CE, BTIP_BM, maker=SIEMENS, tesla=3, desc="t1_space_sag_p2_iso_Gd", psd="*spc_55",
        seq=SE, dim="3D", tr=700, te=11, fa=120),
    row("CUBE T1 after contrast", T1CE, BTIP_BM, maker=GE, tesla=3, desc="Sag CUBE T1 C+", seq=SE, dim="3D", tr=602,
        te=12),
    row("VISTA (black blood) T1 after contrast", T1CE, BTIP_BM, maker=PHILIPS, tesla=3, desc="3D T1 VISTA GD", seq=SE,
        dim="3D", tr=400, te=21),
    row("VIBE, fat-saturated, after contrast", T1CE, ACRONYMS, maker=SIEMENS, tesla=3, desc="t1_vibe_fs_tra post KM",
        seq=GR, options=["FS"], dim="3D", tr=5.2, te=2.46, fa=12),
    row("MP2RAGE, uniform image", OPEN, MP2RAGE, maker=SIEMENS, tesla=3, desc="t1_mp2rage_sag_p3_32_UNI_Images",
        kind=["DERIVED", "PRIMARY", "M", "ND", "UNI"], seq=GR_IR, dim="3D", tr=5000, te=2.98, ti=700, fa=4),
    row("Canon 3D gradient echo after contrast", T1CE, CANON_CS, maker=CANON, tesla=3, desc="T1 3D FFE CE", seq=GR,
        dim="3D", tr=6.7, te=2.7, fa=9, ti=900),
    row("Toshiba spin echo", OPEN, CANON_CS, maker=TOSHIBA, tesla=1.5, desc="T1 SE axial", seq=SE, dim="2D", tr=540,
        te=15),
    row("Hitachi spin echo, after", T1CE, HITACHI_CS, maker=HITACHI, tesla=1.2, desc="AX T1 SE +GD", seq=SE, dim="2D",
        tr=450, te=11),
    row("UIH 3D gradient echo, Chinese", T1CE, UIH_CS, maker=UIH, tesla=3, desc="增强 t1_gre_fsp_3d_sag",
        psd="gre_fsp_3d",
        seq=GR, dim="3D", tr=7.1, te=3.1, fa=10),
    row("Chinese, plain", T1, UIH_CS, maker=UIH, tesla=1.5, desc="T1WI 横断位 平扫", seq=SE, tr=420, te=9),
    row("Chinese, words alone", T1CE, UIH_CS, desc="矢状位T1增强"),
    row("French, after injection", T1CE, BOLUS, maker=SIEMENS, desc="T1 AX APRÈS INJECTION", seq=SE, tr=500, te=10),
    row("French, without injection", T1, BOLUS, maker=GE, desc="T1 SE sans injection", seq=SE, tr=520, te=12),
    row("Spanish, without", T1, BOLUS, maker=PHILIPS, desc="T1 AX SIN CONTRASTE", seq=SE, tr=500, te=12),
    row("Spanish, with", T1CE, BOLUS, maker=PHILIPS, desc="T1 axial con contraste", seq=SE, tr=500, te=12),
    row("Italian, after", T1CE, BOLUS, maker=GE, desc="T1 ax dopo mdc", seq=SE, tr=500, te=12),
    row("Portuguese, with", T1CE, BOLUS, maker=GE, desc="T1 AXIAL COM CONTRASTE", seq=SE, tr=500, te=12),
    row("Dutch, without", T1, BOLUS, maker=PHILIPS, desc="T1 TSE zonder contrast", seq=SE, tr=600, te=10),
    row("German, native", T1, BOLUS, maker=SIEMENS, desc="t1_se_tra nativ", seq=SE, tr=500, te=10),
    row("German, agent none in words", T1, BOLUS, maker=SIEMENS, desc="t1_se_tra", seq=SE, tr=500, te=10,
        agent="kein"),
    row("A minus before the agent", T1, TCIA, maker=GE, desc="AX T1 - GD", seq=SE, tr=500, te=10),
    row("A minus behind the agent", T1, TCIA, maker=SIEMENS, desc="t1_se_tra KM-", seq=SE, tr=500, te=10),
    row("A negation behind the agent", T1, TCIA, maker=GE, desc="T1 GD NEG", seq=SE, tr=500, te=10),
    row("A hyphen that may be a minus", OPEN, TCIA, maker=GE, desc="AX-T1-GD", seq=SE, tr=500, te=10),
    row("A hyphen that may be a minus, with the agent", T1CE, TCIA, maker=GE, desc="AX-T1-GD", seq=SE, tr=500, te=10,
        agent="Gadavist"),
    row("Hyphens that separate", T1CE, TCIA, maker=GE, desc="AX-T1-POST-GD", seq=SE, tr=500, te=10),
    row("The negated fat saturation is not the agent", T1CE, TCIA, maker=GE, desc="T1 GD WITHOUT FS", seq=SE, tr=500,
        te=10),
    row("Danish, without", T1, BOLUS, maker=SIEMENS, desc="T1 uden kontrast", seq=SE, tr=500, te=10),
    row("Russian, after", T1CE, BOLUS, maker=SIEMENS, desc="Т1 с контрастом", seq=SE, tr=500, te=10),
    row("Both words and neither agent", OPEN, TCIA, maker=GE, desc="T1 W/WO", seq=SE, tr=500, te=10),
    row("Protocol of the whole examination (GE)", OPEN, GE_CS, maker=GE, desc="Ax T1", protocol="BRAIN WITH CONTRAST",
        seq=SE, tr=500, te=10),
    row("Agent kept by the scanner, yet described as before", OPEN, GE_CS, maker=GE, desc="Ax T1 PRE", seq=SE, tr=500,
        te=10, agent="MULTIHANCE"),
    row("Injected volume without a name", T1CE, BOLUS, maker=PHILIPS, desc="T1W_SE", seq=SE, tr=500, te=12,
        ContrastBolusVolume="7.5"),
    row("Hitachi, nothing injected", T1, HITACHI_CS, maker=HITACHI, tesla=1.2, desc="T1 AX", seq=SE, dim="2D", tr=450,
        te=11, agent="off"),
    row("Agent unknown", OPEN, BOLUS, maker=GE, desc="Ax T1", seq=SE, tr=500, te=12, agent="see notes"),
    row("Agent of the protocol, dose 0", OPEN, BOLUS, maker=SIEMENS, desc="t1_se_tra", seq=SE, tr=500, te=12,
        agent="Gadovist", ContrastBolusVolume="0"),
    row("Polish, no agent", T1, BOLUS, maker=SIEMENS, desc="t1_se_tra", seq=SE, tr=500, te=12, agent="brak"),
    row("Japanese, agent's name", T1CE, BOLUS, maker=CANON, desc="T1 SE", seq=SE, tr=500, te=12, agent="ガドビスト"),
    row("After surgery, no word of contrast", OPEN, TCIA, maker=SIEMENS, desc="T1 AX POST OP", seq=SE, tr=500, te=10),
    row("De-identified: timings alone", OPEN, MR, seq=SE, tr=560, te=9),
    row("Description alone, T1 after the agent", T1CE, TCIA, desc="AX T1 3D POST"),
    row("GRE with a fat preparation's TI", OPEN, GE_CS, maker=GE, desc="Ax 3D T1 FSPGR", seq=GR, dim="3D", tr=9.8,
        te=4.6,
        ti=15, fa=20),
    row("Dixon, in-phase image (Philips)", OPEN, PHILIPS_CS, maker=PHILIPS, desc="T1W_mDIXON_TSE",
        kind=["ORIGINAL", "PRIMARY", "IP", "IP", "SE"], seq=SE, tr=600, te=10),
    row("Dixon, water image", T1CE, IMAGE_TYPE, maker=SIEMENS, desc="t1_vibe_dixon_tra_post_W",
        kind=["DERIVED", "PRIMARY", "DIXON", "WATER"], seq=GR, dim="3D", tr=6.0, te=2.5, fa=9),
]  # fmt: skip

T2_WEIGHTED = [
    row("TSE", T2, BTIP, maker=SIEMENS, tesla=3, desc="t2_tse_tra_512", psd="*tse2d1_18", seq=SE, dim="2D", tr=5000,
        te=100, etl=18),
    row("FSE at 1.5 T, fat-saturated", T2, BTIP, maker=GE, tesla=1.5, desc="Ax T2 FS FSE", seq=SE, options=["FS"],
        dim="2D", tr=4500, te=96, etl=16),
    row("Philips TSE", T2, PHILIPS_CS, maker=PHILIPS, tesla=3, desc="T2W_TSE", seq=SE, dim="2D", tr=3000, te=80,
        kind=["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"]),
    row("SPACE T2", T2, HCP, maker=SIEMENS, tesla=3, desc="T2w_SPC", psd="*spc_314ns", seq=SE, variant=["SK", "SP"],
        dim="3D", tr=3200, te=563, fa=120),
    row("CUBE T2", T2, ACRONYMS, maker=GE, tesla=3, desc="Sag CUBE T2", seq=SE, dim="3D", tr=2500, te=90),
    row("VISTA T2, header only", T2, PHILIPS_CS, maker=PHILIPS, seq=SE, dim="3D", tr=2500, te=260),
    row("Dual echo, second echo", T2, ADNI1, maker=SIEMENS, desc="AXIAL T2 TSE", psd="*tse2d2", seq=SE, dim="2D",
        tr=3000, te=96, EchoNumbers=2),
    row("Dual echo described as both, second echo", T2, ADNI1, maker=GE, desc="Axial PD/T2 FSE", seq=SE, dim="2D",
        tr=3000, te=98, EchoNumbers=2),
    row("BLADE", T2, ACRONYMS, maker=SIEMENS, desc="t2_blade_tra", seq=SE, dim="2D", tr=6000, te=110),
    row("PROPELLER", T2, ACRONYMS, maker=GE, desc="Ax T2 PROPELLER", seq=SE, dim="2D", tr=5800, te=105),
    row("Canon FSE", T2, CANON_CS, maker=CANON, desc="T2 FSE ax", seq=SE, dim="2D", tr=4800, te=100),
    row("Hitachi FSE", T2, HITACHI_CS, maker=HITACHI, desc="T2 FSE TRS", seq=SE, dim="2D", tr=4400, te=95),
    row("UIH FSE, Chinese", T2, UIH_CS, maker=UIH, desc="t2_fse_tra 压脂", psd="fse", seq=SE, dim="2D", tr=4000,
        te=110),
    row("After contrast it stays a T2", T2, BTIP, maker=SIEMENS, desc="t2_tse_tra", seq=SE, tr=4000, te=90,
        agent="DOTAREM"),
    row("De-identified", T2, MR, seq=SE, tr=4200, te=102),
    row("Description alone, T2", T2, TCIA, desc="AX T2"),
]  # fmt: skip

FLAIRS = [
    row("TIRM, 2D", FLAIR, FLAIR_0, maker=SIEMENS, tesla=3, desc="t2_tirm_tra_dark-fluid_FLAIR", psd="*tir2d1_16",
        seq=SE_IR, dim="2D", tr=9000, te=81, ti=2500),
    row("SPACE FLAIR", FLAIR, UKB, maker=SIEMENS, tesla=3, desc="t2_flair_sag_p2_1mm_fs_ellip_pf78",
        psd="*spcir_242ns", seq=SE_IR, dim="3D", tr=5000, te=395, ti=1800),
    row("SPACE dark fluid, Siemens' short name", FLAIR, SIEMENS_CS, maker=SIEMENS, tesla=3,
        desc="t2_spc_da-fl_sag_p2_iso_1.0", psd="*spcir_284ns", seq=SE_IR, variant=["SK", "SP", "MP"], dim="3D",
        tr=5000, te=397, ti=1800),
    row("CUBE FLAIR", FLAIR, ADNI3, maker=GE, tesla=3, desc="Sagittal 3D FLAIR", seq=SE_IR, dim="3D", tr=4800, te=119,
        ti=1484),
    row("GE T2 FLAIR, 2D", FLAIR, BTIP, maker=GE, tesla=1.5, desc="AX T2 FLAIR", seq=SE_IR,
        options=["T2FLAIR_GEMS", "IR_GEMS"], dim="2D", tr=8000, te=120, ti=2000),
    row("Philips FLAIR", FLAIR, PHILIPS_CS, maker=PHILIPS, tesla=3, desc="FLAIR_longTR", seq=["IR", "SE"], dim="2D",
        kind=["ORIGINAL", "PRIMARY", "M_IR", "M", "IR"], tr=11000, te=125, ti=2800),
    row("VISTA FLAIR, TI 1650", FLAIR, ADNI3, maker=PHILIPS, tesla=3, desc="3D_Brain_VIEW_FLAIR", seq=["IR", "SE"],
        dim="3D", tr=4800, te=271, ti=1650),
    row("FLAIR whose TI was lost", FLAIR, PHILIPS_CS, maker=PHILIPS, desc="FLAIR", seq=SE, tr=11000, te=125, ti=0),
    row("Canon FLAIR", FLAIR, CANON_CS, maker=CANON, desc="FLAIR ax", seq=SE_IR, dim="2D", tr=10000, te=105, ti=2700),
    row("Hitachi FLAIR", FLAIR, HITACHI_CS, maker=HITACHI, desc="FLAIR TRS", seq=SE_IR, dim="2D", tr=9000, te=100,
        ti=2200),
    row("Chinese, water suppressed", FLAIR, UIH_CS, maker=UIH, desc="T2 压水 横断位", seq=SE_IR, tr=8000, te=110,
        ti=2300),
    row("FLAIR after contrast stays a FLAIR", FLAIR, ACRIN, maker=GE, desc="AX FLAIR POST", seq=SE_IR, tr=9000, te=120,
        ti=2250, agent="YES"),
    row("De-identified, 3D", FLAIR, UKB, seq=SE_IR, dim="3D", tr=5000, te=390, ti=1800),
    row("Description alone, FLAIR", FLAIR, TCIA, desc="Ax T2 FLAIR"),
]  # fmt: skip

ENHANCED = [
    enhanced("Philips T1 TSE", OPEN, QA_CS_DL, Manufacturer="Philips", PulseSequenceName="TSE", ProtocolName="T1W_TSE",
             EchoPulseSequence="SPIN", MRAcquisitionType="2D", tr=600, te=10),
    enhanced("Siemens XA MP-RAGE", OPEN, EMR, Manufacturer="Siemens Healthineers", PulseSequenceName="*tfl3d1_16",
             SeriesDescription="t1_mprage_sag", EchoPulseSequence="GRADIENT", tr=2300, te=2.3, ti=900, fa=8),
    enhanced("T1 with the agent administered", T1CE, EBOLUS, Manufacturer="Philips", SeriesDescription="T1 3D TFE",
             EchoPulseSequence="GRADIENT", tr=7.6, te=3.5, fa=8, administered="YES"),
    enhanced("T1 before the agent of the same object", T1, EBOLUS, Manufacturer="Philips",
             ContrastBolusAgent="GADOVIST",
             SeriesDescription="T1 3D TFE", EchoPulseSequence="GRADIENT", tr=7.6, te=3.5, fa=8, administered="NO"),
    enhanced("T2 by its contrast term", T2, EMR, EchoPulseSequence="SPIN", tr=4500, te=100, contrast="T2"),
    enhanced("FLAIR by its contrast term", FLAIR, EMR, EchoPulseSequence="SPIN", tr=8000, te=120, ti=2400,
             contrast="FLUID_ATTENUATED"),
    enhanced("Diffusion by its contrast term", EXCLUDED, EMR, tr=6000, te=90, contrast="DIFFUSION"),
    enhanced("Proton density by its contrast term", EXCLUDED, EMR, EchoPulseSequence="SPIN", tr=3000, te=20,
             contrast="PROTON_DENSITY"),
    enhanced("A time of flight", EXCLUDED, EMR, TimeOfFlightContrast="YES", EchoPulseSequence="GRADIENT", tr=21, te=3.4,
             fa=18),
    enhanced("Echo-planar", EXCLUDED, EMR, EchoPlanarPulseSequence="YES", tr=3000, te=30),
]  # fmt: skip

OTHERS = [
    row("Localiser", EXCLUDED, ADNI3, desc="3 Plane Localizer", seq=GR, tr=8.6, te=4, fa=20),
    row("Localiser by image type (GE)", EXCLUDED, IMAGE_TYPE, kind=["ORIGINAL", "PRIMARY", "LOCALIZER"], seq=GR, tr=6,
        te=2),
    row("Localiser, Chinese", EXCLUDED, UIH_CS, desc="定位像", seq=GR, tr=8, te=3),
    row("Auto-align scout", EXCLUDED, SIEMENS_CS, maker=SIEMENS, desc="AAHead_Scout", seq=GR, tr=3.15, te=1.37, fa=8),
    row("Auto-align scout, one word", EXCLUDED, SIEMENS_CS, maker=SIEMENS, desc="AAHScout", psd="*fl3d1_ns", seq=GR,
        dim="3D", tr=3.15, te=1.37, fa=8),
    row("Localiser of three planes (GE)", EXCLUDED, ADNI3, maker=GE, desc="3-pl loc", seq=GR, tr=6, te=2, fa=30),
    row("Survey (Philips)", EXCLUDED, PHILIPS_CS, maker=PHILIPS, desc="Survey_MST", seq=GR, tr=5, te=2.3, fa=15),
    row("Localiser, Czech", EXCLUDED, MR, maker=SIEMENS, desc="přehled", seq=GR, tr=8, te=4, fa=20),
    row("Spin-echo field map", EXCLUDED, HCP, maker=SIEMENS, desc="SpinEchoFieldMap_AP", seq=SE, tr=700, te=12),
    row("Dixon, opposed phase by its words", EXCLUDED, PHILIPS_CS, maker=PHILIPS, desc="T1W_mDIXON OP", seq=GR, tr=5,
        te=1.2, fa=10),
    row("Diffusion", EXCLUDED, BTIP, maker=SIEMENS, desc="ep2d_diff_b1000", psd="*ep_b1000#1", seq=["EP"], tr=6000,
        te=90),
    row("ADC map", EXCLUDED, SIEMENS_CS, maker=SIEMENS, desc="ep2d_diff_ADC",
        kind=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"],
        seq=["EP"], tr=6000, te=90),
    row("GE DTI whose description does not say so", EXCLUDED, GE_TEST, maker=GE, tesla=3, seq=EP_SE,
        desc="Axial 4 directions, 3 shells, pepolar=1", kind=["ORIGINAL", "PRIMARY", "OTHER"],
        options=["SAT_GEMS", "EPI_GEMS", "FILTERED_GEMS", "PFF", "FS"], tr=7800, te=85.1),
    row("DSC perfusion", EXCLUDED, ACRIN, desc="ep2d_perf_p2", psd="*epfid2d1_128", seq=["EP"], tr=1700, te=30,
        agent="GADOVIST"),
    row("DCE perfusion", EXCLUDED, ACRIN, desc="t1_vibe DCE dynamic", seq=GR, tr=4, te=1.5, fa=20, agent="YES"),
    row("ASL", EXCLUDED, ADNI3, maker=GE, desc="Axial 3D PASL (Eyes Open)", tr=4800, te=10.5),
    row("Susceptibility", EXCLUDED, UKB, maker=SIEMENS, desc="SWI_Images", psd="*swi3d1r", seq=GR, dim="3D", tr=27,
        te=20,
        fa=15),
    row("T2*", EXCLUDED, ADNI3, maker=GE, desc="Axial T2 STAR", seq=GR, dim="2D", tr=650, te=20, fa=20),
    row("T2*, written with a star", EXCLUDED, ADNI3, maker=PHILIPS, desc="T2* FFE", seq=GR, tr=700, te=23, fa=18),
    row("T2* by timings alone", EXCLUDED, MR, seq=GR, tr=620, te=20, fa=20),
    row("SWAN", EXCLUDED, ACRONYMS, maker=GE, desc="Ax 3D SWAN", seq=GR, tr=38, te=24),
    row("Time of flight", EXCLUDED, ACRONYMS, maker=SIEMENS, desc="TOF_3D_multi-slab", psd="*fl3d1r_t3", seq=GR, tr=21,
        te=3.4, fa=18),
    row("Angiography by its flag", EXCLUDED, MR, maker=GE, seq=GR, tr=25, te=3, fa=20, AngioFlag="Y"),
    row("Functional MRI", EXCLUDED, ADNI3, desc="Axial rsfMRI (Eyes Open)", seq=["EP"], tr=3000, te=30),
    row("Mosaic", EXCLUDED, SIEMENS_CS, maker=SIEMENS, kind=["ORIGINAL", "PRIMARY", "M", "MB", "ND", "MOSAIC"],
        tr=735, te=39, seq=["EP"]),
    row("Projection", EXCLUDED, IMAGE_TYPE, maker=GE, desc="COL: MRA",
        kind=["DERIVED", "SECONDARY", "PROJECTION IMAGE"]),
    row("Subtraction", EXCLUDED, IMAGE_TYPE, maker=SIEMENS, desc="t1_mprage_SUB",
        kind=["DERIVED", "PRIMARY", "M", "SUB"], seq=GR_IR, tr=2100, te=2.4, ti=900),
    row("Phase image", EXCLUDED, SHAPE, maker=SIEMENS, desc="gre_field_mapping_2mm", psd="*fm2d2r", seq=GR,
        kind=["ORIGINAL", "PRIMARY", "P", "ND", "PHASE"], tr=710, te=7.38, fa=60),
    row("T1 map of MP2RAGE", EXCLUDED, MP2RAGE, maker=SIEMENS, desc="t1_mp2rage_T1_Images",
        kind=["DERIVED", "PRIMARY", "T1 MAP", "ND"], seq=GR_IR, tr=5000, te=2.98),
    row("MP2RAGE, first inversion", EXCLUDED, MP2RAGE, maker=SIEMENS, desc="t1_mp2rage_sag_p3_32_INV1",
        kind=["ORIGINAL", "PRIMARY", "M", "ND"], seq=GR_IR, tr=5000, te=2.98, ti=700, fa=4),
    row("MP2RAGE, second inversion, header only", EXCLUDED, MP2RAGE, maker=SIEMENS, seq=GR_IR, tr=5000, te=2.98,
        ti=2500,
        fa=5),
    row("STIR by timings", EXCLUDED, ACRONYMS, maker=SIEMENS, desc="t2_tirm_cor", psd="*tir2d1_11", seq=SE_IR, tr=4000,
        te=60, ti=160),
    row("STIR by name", EXCLUDED, ACRONYMS, maker=GE, desc="Cor STIR", seq=SE_IR, tr=4500, te=45, ti=150),
    row("Proton density", EXCLUDED, ADNI1, maker=GE, desc="Axial PD FSE", seq=SE, tr=3000, te=15),
    row("Dual echo, first echo, no words", EXCLUDED, ADNI1, maker=SIEMENS, psd="*tse2d2", seq=SE, tr=3000, te=12,
        EchoNumbers=1),
    row("Spine", EXCLUDED, MR, maker=SIEMENS, desc="t2_tse_sag", part="CSPINE", seq=SE, tr=4000, te=100),
    row("Cervical spine by words", EXCLUDED, TCIA, maker=GE, desc="SAG T1 C-SPINE", seq=SE, tr=500, te=10),
    row("Orbits", EXCLUDED, TCIA, maker=GE, desc="COR T1 FS ORBITS POST", seq=SE, tr=600, te=10),
    row("Inner ear canals", EXCLUDED, TCIA, maker=GE, desc="AX T1 IAC +C", seq=SE, tr=500, te=10),
    row("CISS", EXCLUDED, ACRONYMS, maker=SIEMENS, desc="t2_ciss3d_tra", seq=GR, tr=6, te=2.7, fa=60),
    row("FIESTA", EXCLUDED, ACRONYMS, maker=GE, desc="Ax 3D FIESTA", seq=GR, tr=5.5, te=2.2, fa=50),
    row("Dixon, fat image", EXCLUDED, IMAGE_TYPE, maker=SIEMENS, desc="t1_vibe_dixon_F",
        kind=["DERIVED", "PRIMARY", "DIXON", "FAT"], seq=GR, tr=6, te=2.5),
    row("Dixon, opposed phase", EXCLUDED, IMAGE_TYPE, maker=SIEMENS, desc="t1_vibe_dixon",
        kind=["ORIGINAL", "PRIMARY", "M", "OPP_PHASE"], seq=GR, tr=6, te=1.2),
    row("Dixon, opposed phase (Philips)", EXCLUDED, PHILIPS_CS, maker=PHILIPS, desc="T1W_mDIXON_TSE",
        kind=["ORIGINAL", "PRIMARY", "OP", "OP", "SE"], seq=SE, tr=600, te=10),
    row("Dixon, fat (Philips)", EXCLUDED, PHILIPS_CS, maker=PHILIPS, desc="T1W_mDIXON_TSE",
        kind=["ORIGINAL", "PRIMARY", "F", "F", "SE"], seq=SE, tr=600, te=10),
    row("B1 map by its image type", EXCLUDED, PHILIPS_CS, maker=PHILIPS, desc="T1W_FFE",
        kind=["ORIGINAL", "PRIMARY", "M_B1", "M", "B1"], seq=GR, tr=60, te=2.3, fa=60),
    row("Susceptibility, phase (Philips)", EXCLUDED, PHILIPS_CS, maker=PHILIPS,
        kind=["ORIGINAL", "PRIMARY", "SW_P_FFE", "P", "FFE"], seq=GR, tr=31, te=7.2, fa=17),
    row("Calibration", EXCLUDED, ADNI1, maker=GE, desc="ASSET calibration", seq=GR, tr=150, te=1.5),
    row("Synthetic", EXCLUDED, ACRONYMS, maker=GE, desc="SyMRI T1W", kind=["DERIVED", "SECONDARY"], tr=500, te=10),
    row("Spectroscopy planning", EXCLUDED, ACRIN, desc="svs_se_135", tr=1500, te=135),
    row("Fat of a Dixon scan by its prefix", EXCLUDED, GE_CS, maker=GE, desc="FAT: Ax T1 Flex", seq=SE, tr=600, te=10),
    row("Opposed phase by its prefix", EXCLUDED, GE_CS, maker=GE, desc="OutPhase: Ax T1 Flex", seq=GR, tr=8, te=1.3,
        fa=12),
    row("Relaxation rate of a Dixon scan", EXCLUDED, SIEMENS_CS, maker=SIEMENS, desc="T1 vibe q-dixon",
        kind=["DERIVED", "PRIMARY", "M", "R2_STAR MAP"], seq=GR, tr=8, te=3, fa=12),
    row("Synthetic T1 (MAGiC)", EXCLUDED, GE_CS, maker=GE, desc="MAGiC T1", seq=SE, tr=500, te=10),
    row("Synthetic FLAIR (MAGiC)", EXCLUDED, GE_CS, maker=GE, desc="MAGiC T2 FLAIR", seq=SE_IR, tr=11000, te=100,
        ti=2800),
    row("Synthetic T1 in one word", EXCLUDED, GE_CS, maker=GE, desc="Ax SyT1W", seq=SE, tr=500, te=10),
    row("Synthetic by its image type", EXCLUDED, IMAGE_TYPE, desc="Ax T1", kind=["DERIVED", "PRIMARY", "SYNTHETIC"],
        seq=SE, tr=500, te=10),
    row("Quantitative T1", EXCLUDED, MP2RAGE, maker=SIEMENS, desc="qT1 mp2rage", seq=GR_IR, tr=5000, te=2.9, ti=700,
        fa=4),
    row("MP2RAGE, first inversion with a hyphen", EXCLUDED, MP2RAGE, maker=SIEMENS, desc="MP2RAGE inv-1 mag",
        seq=GR_IR, tr=5000, te=2.9, ti=700, fa=4),
    row("MP2RAGE, first inversion in words", EXCLUDED, MP2RAGE, maker=SIEMENS, desc="mp2rage 1st inversion",
        seq=GR_IR, tr=5000, te=2.9, ti=700, fa=4),
    row("CISS by its sequence name", EXCLUDED, ACRONYMS, maker=SIEMENS, desc="t2_ci3d_tra", psd="*ci3d1", seq=GR,
        tr=5.8, te=2.6, fa=50),
    row("DESS", EXCLUDED, ACRONYMS, maker=SIEMENS, desc="dess sag", psd="*de3d1_we", seq=GR, tr=14, te=5, fa=25),
    row("COSMIC", EXCLUDED, GE_CS, maker=GE, desc="Ax COSMIC", seq=GR, tr=6, te=2.5, fa=30),
    row("PSIF", EXCLUDED, ACRONYMS, maker=SIEMENS, desc="psif3d", seq=GR, tr=11, te=6, fa=30),
    row("Bolus tracking", EXCLUDED, ACRONYMS, maker=SIEMENS, desc="care_bolus", seq=GR, tr=30, te=1.2, fa=30,
        agent="Gadovist"),
    row("Permeability", EXCLUDED, GE_CS, maker=GE, desc="Ktrans", kind=["DERIVED", "SECONDARY"], seq=GR, tr=5, te=2,
        fa=15),
    row("Subtraction, abbreviated", EXCLUDED, SIEMENS_CS, maker=SIEMENS, desc="T1 Subtr. KM-nativ", seq=GR_IR, tr=2300,
        te=3, ti=900, fa=9, agent="Gd"),
    row("Subtraction as a difference", EXCLUDED, PHILIPS_CS, maker=PHILIPS, desc="T1 post - T1 pre", seq=GR, tr=8,
        te=3, fa=10),
    row("Double inversion recovery", EXCLUDED, PHILIPS_CS, maker=PHILIPS, desc="3D_DIR", seq=SE_IR, tr=5500, te=300,
        ti=2550),
    row("Report page", EXCLUDED, SIEMENS_CS, maker=SIEMENS, desc="T1 report", kind=["DERIVED", "SECONDARY", "OTHER"]),
    row("Segmentation on T1", EXCLUDED, SIEMENS_CS, desc="T1 Segmentation", kind=["DERIVED", "SECONDARY"], seq=GR_IR,
        tr=2300, te=3, ti=900, fa=9),
    row("White matter nulled by name", EXCLUDED, ADNI1, maker=SIEMENS, desc="FGATIR", seq=GR_IR, tr=3000, te=4.4,
        ti=409, fa=8),
]  # fmt: skip

UNCLEAR = [
    row("Silence", AMBIGUOUS, MR),
    row("A description of which no word is known", AMBIGUOUS, MR, desc="Studie 7 lang"),
    row("Words against timings", AMBIGUOUS, MR, desc="T1", seq=SE, tr=4500, te=100),
    row(
        "Dual echo described as both, first echo",
        AMBIGUOUS,
        ADNI1,
        desc="Axial PD/T2 FSE",
        seq=SE,
        tr=3000,
        te=11,
        EchoNumbers=1,
    ),
    row("Two weightings in the words", AMBIGUOUS, MR, desc="T1 T2 ax"),
    row(
        "T2 against a balanced steady state's timings",
        AMBIGUOUS,
        ACRONYMS,
        desc="T2 3D tra",
        seq=GR,
        tr=5.8,
        te=2.6,
        fa=50,
    ),
    row(
        "White matter nulled, called MP-RAGE", AMBIGUOUS, ADNI1, desc="mprage", seq=GR_IR, tr=4500, te=4.4, ti=500, fa=8
    ),
    row(
        "Angiography by its timings alone",
        EXCLUDED,
        ACRONYMS,
        desc="fl3d_ce_cor",
        psd="*fl3d1_ce",
        seq=GR,
        tr=3.2,
        te=1.2,
        fa=25,
        agent="Gadovist",
    ),
    row("Timings of nothing usual", AMBIGUOUS, MR, seq=SE, tr=1500, te=45),
    row("Empty attributes", AMBIGUOUS, MR, desc="ax", ScanningSequence="", SequenceVariant=""),
]

ROWS = [*T1_WEIGHTED, *T2_WEIGHTED, *FLAIRS, *ENHANCED, *OTHERS, *UNCLEAR]
