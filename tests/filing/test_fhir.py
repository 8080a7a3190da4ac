"""The answer as FHIR: valid by published models, of the study's own patient, with the codes of the DICOM results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glioserve_cli.main import main
from glioserve_client import DicomStudy, Modality, Prediction, VolumeStudy
from glioserve_client.filing import DicomResults, make_results
from glioserve_client.filing.codes import Concept
from glioserve_client.filing.fhir import FILE_NAME, SYSTEMS, fhir_bundle, write_fhir
from glioserve_contract import NOT_FOR_CLINICAL_USE, GlioserveError
from support.results.answers import blob, outputs_of, report_of
from support.results.filed import LEFT_LPS_MM, REFERENCE, asked, head_files
from support.server.fake_server import Answer, FakeServer

pytest.importorskip("fhir.resources.R4B")
from fhir.resources.R4B.bundle import Bundle


@pytest.fixture(scope="module")
def answered() -> tuple[DicomStudy, Prediction, DicomResults]:
    study, prediction = asked(*head_files())
    return study, prediction, make_results(prediction, study)


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def code(concept: dict[str, Any]) -> str:
    return concept["coding"][0]["code"]


def test_it_is_valid_by_the_published_models(answered: tuple[DicomStudy, Prediction, DicomResults]) -> None:
    study, prediction, results = answered
    for bundle in (fhir_bundle(prediction, study, results), fhir_bundle(prediction, study)):
        read = Bundle.model_validate_json(json.dumps(bundle))
        assert json.loads(read.model_dump_json()) == bundle
    broken = fhir_bundle(prediction, study)
    broken["entry"][-1]["resource"]["status"] = ["preliminary"]
    with pytest.raises(ValueError, match="status"):
        Bundle.model_validate(broken)


def test_it_says_what_the_answer_says(answered: tuple[DicomStudy, Prediction, DicomResults]) -> None:
    study, prediction, _ = answered
    bundle = fhir_bundle(prediction, study)
    found = {code(o["code"]): o for o in resources(bundle, "Observation")}
    assert set(found) == {"121071", "GLIO-P-REC", "GLIO-P-NEC", "111050"}
    assert found["GLIO-P-REC"]["valueQuantity"]["value"] == pytest.approx(0.87)
    assert found["GLIO-P-NEC"]["valueQuantity"]["value"] == pytest.approx(0.13)
    assert code(found["121071"]["valueCodeableConcept"]) == Concept.RECURRENCE.code
    assert found["121071"]["component"][0]["valueQuantity"]["value"] == 0.5
    assert code(found["111050"]["valueCodeableConcept"]) == Concept.QUALITY_OK.code
    (device,) = resources(bundle, "Device")
    assert device["serialNumber"] == prediction.model.digest
    (report,) = resources(bundle, "DiagnosticReport")
    assert code(report["code"]) == "24590-2"
    assert report["conclusion"].startswith("Recurrent tumor; probability of recurrence 0.870, threshold 0.5.")
    urls = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}
    assert [urls[r["reference"]] for r in report["result"]] == ["Observation"] * 4
    assert {urls[o["device"]["reference"]] for o in found.values()} == {"Device"}
    for resource in (report, device, *found.values()):
        assert NOT_FOR_CLINICAL_USE in json.dumps(resource, ensure_ascii=False)
    coded = {(c.scheme, c.code) for c in Concept}
    schemes = {system: scheme for scheme, system in SYSTEMS.items()}
    ours = [c for c in codings(bundle) if c["system"] in schemes and "display" in c]
    assert len(ours) > 12
    assert {(schemes[c["system"]], c["code"]) for c in ours} <= coded


def codings(value: Any) -> list[dict[str, Any]]:
    """Every coding of the Bundle."""
    if isinstance(value, list):
        return [coding for item in value for coding in codings(item)]
    if not isinstance(value, dict):
        return []
    return [*value.get("coding", []), *(coding for item in value.values() for coding in codings(item))]


def test_it_is_of_the_patient_and_refers_to_the_images_and_the_results(
    answered: tuple[DicomStudy, Prediction, DicomResults],
) -> None:
    study, prediction, results = answered
    (report,) = resources(fhir_bundle(prediction, study, results), "DiagnosticReport")
    assert report["subject"]["identifier"]["value"] == "MRN-42"
    assert report["subject"]["display"] == "Doe Jane"
    assert report["effectiveDateTime"] == "2024-01-03"
    assert report["basedOn"][0]["identifier"]["value"] == "ACC7"
    (images,) = report["contained"]
    assert report["imagingStudy"] == [{"reference": f"#{images['id']}"}]
    first = study.files[0].instance.dataset
    assert images["identifier"][0]["value"] == f"urn:oid:{first.StudyInstanceUID}"
    listed = {i["uid"]: i.get("title") for s in images["series"] for i in s["instance"]}
    assert {f.instance.dataset.SOPInstanceUID for f in study.files} <= set(listed)
    assert {str(d.SOPInstanceUID): name for name, d in results.by_name.items()}.items() <= listed.items()


def test_the_same_answer_is_created_once(answered: tuple[DicomStudy, Prediction, DicomResults], tmp_path: Path) -> None:
    study, prediction, results = answered
    bundle = fhir_bundle(prediction, study, results)
    assert fhir_bundle(prediction, study, results) == bundle
    conditions = [entry["request"]["ifNoneExist"] for entry in bundle["entry"]]
    assert len(set(conditions)) == len(conditions) == 6
    for entry in bundle["entry"]:
        (identifier,) = entry["resource"]["identifier"]
        assert entry["request"]["ifNoneExist"] == f"identifier={identifier['system']}|{identifier['value']}"
    path = write_fhir(bundle, tmp_path / "out")
    assert path.name == FILE_NAME
    assert json.loads(path.read_text(encoding="utf-8")) == bundle


def test_an_abstention_has_its_reasons_and_a_patient_without_a_number_is_unknown() -> None:
    reasons = ("similarity_t1 is outside its usual range",)
    files = head_files(PatientID="", PatientName="", AccessionNumber="", StudyDate="")
    study, prediction = asked(*files, abstained_because=reasons)
    bundle = fhir_bundle(prediction, study)
    Bundle.model_validate(bundle)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["subject"] == {"type": "Patient", "display": "unknown"}
    assert not {"basedOn", "effectiveDateTime"} & set(report)
    assert code(report["conclusionCode"][0]) == Concept.NO_LABEL.code
    assert reasons[0] in report["conclusion"]
    assert reasons[0] in resources(bundle, "Observation")[0]["note"][1]["text"]


@pytest.mark.parametrize("beside", [[], ["--dicom-results"]])
def test_the_command_writes_it(beside: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, shape, affine = head_files()
    (tmp_path / "study").mkdir()
    for number, content in enumerate(files):
        (tmp_path / "study" / f"{number}.dcm").write_bytes(content)
    heat = blob(shape, affine, LEFT_LPS_MM, 20.0)
    report = report_of(heat, affine, series_uids={Modality.T1CE: REFERENCE})
    with FakeServer(Answer(outputs_of(report, heat))) as server:
        options = ["--url", server.url, "--identified", "--out", str(tmp_path / "out"), "--fhir", *beside]
        assert main(["predict", str(tmp_path / "study"), *options]) == 0
    bundle = json.loads((tmp_path / "out" / FILE_NAME).read_text(encoding="utf-8"))
    Bundle.model_validate(bundle)
    assert ("report.dcm" in json.dumps(bundle)) == bool(beside)
    assert str(tmp_path / "out" / FILE_NAME) in capsys.readouterr().out


def test_volumes_have_no_patient(answered: tuple[DicomStudy, Prediction, DicomResults]) -> None:
    _, prediction, _ = answered
    with pytest.raises(GlioserveError, match="GLIO-4112"):
        fhir_bundle(prediction, VolumeStudy({Modality.T1CE: volume()}))


def volume() -> Any:
    import numpy as np

    from glioserve_client import Volume

    return Volume(np.zeros((4, 4, 4)), np.eye(4))
