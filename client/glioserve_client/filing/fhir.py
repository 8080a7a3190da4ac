"""The answer as FHIR R4: a DiagnosticReport with its Observations and the Device, in a Bundle to be posted whole.

Made where the original headers are, as the DICOM results are, with the codes of the same table. The Bundle is a
transaction whose entries are created once, whenever and however often it is posted.
"""

from __future__ import annotations

import html
import json
import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from glioserve_client.dicomfile import text_of
from glioserve_client.filing.codes import PRIVATE_SCHEME, Concept
from glioserve_client.filing.identity import MANUFACTURER, Equipment, equipment_of
from glioserve_client.filing.report import LABELS, QUALITY
from glioserve_client.filing.source import Source, source_of
from glioserve_client.prediction import Label, Prediction
from glioserve_client.study import Study
from glioserve_dicom.files.replacing import folder_for, replacing

if TYPE_CHECKING:
    from glioserve_client.filing import DicomResults

Json = dict[str, Any]
FILE_NAME = "report.fhir.json"
SYSTEMS = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    PRIVATE_SCHEME: "urn:oid:2.25.187462053970915826134207765912340881563",
}
"""FHIR's names of the coding schemes."""
_UIDS = "urn:ietf:rfc:3986"
_IMAGES = "images"
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")


def fhir_bundle(prediction: Prediction, study: Study, results: DicomResults | None = None) -> Json:
    """Return the Bundle as plain JSON values.

    Args:
        prediction: the answer, with its heat map.
        study: the study that was sent; its own headers name the patient, the study and the images.
        results: the DICOM results of the same answer, to be referred to by their UIDs.

    Raises:
        NotFiledError: GLIO-4112 where the study does not allow it; the message says why.
    """
    source = source_of(prediction, study)
    equipment = equipment_of(prediction, source)
    subject = _subject(source.first)
    device = _device(prediction, equipment)
    common: Json = {"status": "preliminary", "subject": subject}
    if date := _DATE.fullmatch(text_of(source.first, "StudyDate")):
        common["effectiveDateTime"] = "-".join(date.groups())
    observations = _observations(prediction, equipment, common)
    report = _report(prediction, source, equipment, common, results)
    report["result"] = [{"reference": _urn(equipment, name)} for name in observations]
    resources = {"device": device, **observations, "report": report}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [_entry(equipment, name, resource) for name, resource in resources.items()],
    }


def write_fhir(bundle: Json, directory: str | os.PathLike[str]) -> Path:
    """Write the Bundle as :data:`FILE_NAME` into ``directory`` and return its path.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the folder's name is empty.
    """
    folder = folder_for(directory)
    with replacing(folder / FILE_NAME) as beside:
        Path(beside).write_text(json.dumps(bundle, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder / FILE_NAME


def _device(prediction: Prediction, equipment: Equipment) -> Json:
    model = prediction.model
    return {
        "resourceType": "Device",
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "modelNumber": model.architecture,
        "serialNumber": model.digest,
        "version": [{"value": version} for version in equipment.versions],
        "type": _concept(Concept.NETWORK),
        "note": [{"text": prediction.notice}],
    }


def _observations(prediction: Prediction, equipment: Equipment, common: Json) -> dict[str, Json]:
    """Return the Observations by their names within the answer."""
    shared = {
        "resourceType": "Observation",
        **common,
        "category": [_coded("http://terminology.hl7.org/CodeSystem/observation-category", "imaging", "Imaging")],
        "bodySite": _concept(Concept.BRAIN),
        "device": {"reference": _urn(equipment, "device")},
        "note": [{"text": text} for text in (prediction.notice, *prediction.abstained_because)],
    }
    method = _concept(Concept.PROBABILITY)
    shares = prediction.probabilities
    return {
        "label": {
            **shared,
            "code": _concept(Concept.FINDING),
            "valueCodeableConcept": _concept(LABELS[prediction.label]),
            "component": [{"code": _concept(Concept.THRESHOLD), "valueQuantity": _share(prediction.threshold)}],
        },
        "probability of recurrence": {
            **shared,
            "code": _concept(Concept.P_RECURRENCE),
            "method": method,
            "valueQuantity": _share(shares[Label.RECURRENCE]),
        },
        "probability of necrosis": {
            **shared,
            "code": _concept(Concept.P_NECROSIS),
            "method": method,
            "valueQuantity": _share(shares[Label.NECROSIS]),
        },
        "quality": {
            **shared,
            "code": _concept(Concept.QUALITY),
            "valueCodeableConcept": _concept(QUALITY[prediction.quality.verdict]),
        },
    }


def _report(
    prediction: Prediction, source: Source, equipment: Equipment, common: Json, results: DicomResults | None
) -> Json:
    finding = LABELS[prediction.label]
    said = f"{finding.meaning}; probability of recurrence {prediction.score:.3f}, threshold {prediction.threshold:g}."
    conclusion = " ".join((said, *(f"{reason}." for reason in prediction.abstained_because), prediction.notice))
    report = {
        "resourceType": "DiagnosticReport",
        **common,
        "text": {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{html.escape(conclusion)}</p></div>',
        },
        "contained": [_imaging_study(source, common["subject"], results)],
        "category": [_coded("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology")],
        "code": _concept(Concept.PROCEDURE),
        "imagingStudy": [{"reference": f"#{_IMAGES}"}],
        "conclusion": conclusion,
        "conclusionCode": [_concept(finding)],
    }
    if accession := text_of(source.first, "AccessionNumber"):
        kind = _coded("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN", "Accession ID")
        report["basedOn"] = [{"type": "ServiceRequest", "identifier": {"type": kind, "value": accession}}]
    return report


def _imaging_study(source: Source, subject: Json, results: DicomResults | None) -> Json:
    """Return the study with the images that were used, and with the DICOM results, by their UIDs."""
    series: dict[str, Json] = {}
    titled = [(image, "") for image in (*source.images, *source.others)]
    titled += [(dataset, name) for name, dataset in (results.by_name if results is not None else {}).items()]
    for dataset, title in titled:
        uid = text_of(dataset, "SeriesInstanceUID")
        listed = series.setdefault(uid, {"uid": uid, "modality": _modality(dataset), "instance": []})
        instance = {"uid": text_of(dataset, "SOPInstanceUID"), "sopClass": _sop_class(dataset)}
        listed["instance"].append({**instance, "title": title} if title else instance)
    return {
        "resourceType": "ImagingStudy",
        "id": _IMAGES,
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{text_of(source.first, 'StudyInstanceUID')}"}],
        "status": "available",
        "subject": subject,
        "series": list(series.values()),
    }


def _subject(image: Dataset) -> Json:
    """Return the patient by the hospital's own number and name, as the images have them."""
    subject: Json = {"type": "Patient"}
    if number := text_of(image, "PatientID"):
        kind = _coded("http://terminology.hl7.org/CodeSystem/v2-0203", "MR", "Medical record number")
        subject["identifier"] = {"type": kind, "value": number}
        if issuer := text_of(image, "IssuerOfPatientID"):
            subject["identifier"]["assigner"] = {"display": issuer}
    name = " ".join(text_of(image, "PatientName").replace("^", " ").split())
    if name or not number:
        subject["display"] = name or "unknown"
    return subject


def _entry(equipment: Equipment, name: str, resource: Json) -> Json:
    """Return a Bundle's entry that is created where there is none of its identifier yet."""
    identifier = f"urn:oid:{equipment.uid('fhir', name)}"
    kind = resource["resourceType"]
    # FHIR's own order of elements: identifiers stand behind the narrative and what is contained.
    head = {key: resource[key] for key in ("resourceType", "text", "contained") if key in resource}
    rest = {key: value for key, value in resource.items() if key not in head}
    return {
        "fullUrl": _urn(equipment, name),
        "resource": {**head, "identifier": [{"system": _UIDS, "value": identifier}], **rest},
        "request": {"method": "POST", "url": kind, "ifNoneExist": f"identifier={_UIDS}|{identifier}"},
    }


def _urn(equipment: Equipment, name: str) -> str:
    return uuid.UUID(int=int(equipment.uid("fhir", name).rpartition(".")[2])).urn


def _concept(concept: Concept) -> Json:
    return _coded(SYSTEMS[concept.scheme], concept.code, concept.meaning)


def _coded(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _share(value: float) -> Json:
    unit = Concept.NO_UNITS
    return {"value": round(value, 6), "unit": unit.meaning, "system": SYSTEMS[unit.scheme], "code": unit.code}


def _modality(dataset: Dataset) -> Json:
    return {"system": SYSTEMS["DCM"], "code": text_of(dataset, "Modality") or "OT"}


def _sop_class(dataset: Dataset) -> Json:
    uid = UID(text_of(dataset, "SOPClassUID"))
    return {"system": _UIDS, "code": f"urn:oid:{uid}", "display": uid.name}
