"""The study log of a real ``glioserve serve``: each study once with its end, through a kill, and no patient's data."""

import contextlib
import io
import json
import math
import re
import shutil
import signal
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import tritonclient.grpc as triton
from pydicom.uid import generate_uid

from glioserve_cli.main import main
from glioserve_contract import GlioserveError, sha256_digest
from glioserve_contract.tensors import CALLER_PARAMETER, DEADLINE_PARAMETER
from glioserve_phantom.dicom import dicom_files
from glioserve_triton.served.versions import load_manifest, save_manifest
from glioserve_watch.audit.files import files_of
from glioserve_watch.audit.lines import parse_head, read_line
from glioserve_watch.audit.verify import verify
from glioserve_watch.digest import digest_of_files
from glioserve_watch.inputs import find_input, input_file
from support.server.serve import serving
from support.server.triton import wait_until

from .test_metrics import PLANTED, infer, refused, with_planted_names

pytestmark = [pytest.mark.triton, pytest.mark.long]

BEFORE_KILL = ("before-1", "before-2")


def lines(log):
    return [
        read_line(text) for file in files_of(log / "audit") for text in file.path.read_bytes().splitlines(keepends=True)
    ]


def studies(log):
    return [line.body for line in lines(log) if line.kind == "study"]


def asked(server, files, request_id, **options):
    """The report of an answered study; None where the server has gone meanwhile."""
    try:
        return json.loads(infer(server, files, request_id=request_id, **options).as_numpy("REPORT")[0])
    except triton.InferenceServerException:
        return None


def with_other_uids(files):
    """The same study as a client sends it another time: pixels alike, pseudonyms not."""
    made = []
    for content in files:
        dataset = pydicom.dcmread(io.BytesIO(content))
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, name, generate_uid(entropy_srcs=["again", getattr(dataset, name)]))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        written = io.BytesIO()
        dataset.save_as(written)
        made.append(written.getvalue())
    return made


def replayed(log, *arguments):
    """Exit code, and what `glioserve replay --json` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(["replay", "--study-log", str(log), "--since", "2020-01-01", "--json", *arguments])
    return code, json.loads(out.getvalue() or "null")


@pytest.fixture(scope="module")
def kept(repository, files, phantom, tmp_path_factory):
    """Good and bad studies, then SIGKILL for the supervisor amid others, then a second server and its end."""
    log = tmp_path_factory.mktemp("study") / "log"
    arguments = ("--study-log", str(log), "--callers", "ward-7", "--keep-inputs")
    answered = {}
    with serving(repository, *arguments) as serve, ThreadPoolExecutor(4) as pool:
        server = SimpleNamespace(grpc_url=serve.grpc_url())
        answered["good"] = asked(server, files, "good", parameters={CALLER_PARAMETER: "ward-7"})
        named = [with_planted_names(content) for content in dicom_files(phantom, identified=True)]
        past = {DEADLINE_PARAMETER: int((time.time() - 60) * 1000)}
        said = [
            refused(server, [PLANTED[0].encode()], request_id=" ".join(PLANTED)),
            refused(server, named, request_id="identified"),
            refused(server, files, request_id="late", parameters=past),
        ]
        wait_until(lambda: len(studies(log)) == 4, "the first studies are in the log")
        with serving(repository, *arguments) as other:
            assert other.end() == 1
            assert "another server uses it" in other.log
        waiting = {name: pool.submit(asked, server, files, name) for name in BEFORE_KILL}
        killer = threading.Thread(target=lambda: (waiting[BEFORE_KILL[0]].result(), serve.process.kill()))
        killer.start()
        answered |= {name: study.result() for name, study in waiting.items()}
        killer.join()
        first_log = serve.log
    with serving(repository, *arguments) as serve:
        server = SimpleNamespace(grpc_url=serve.grpc_url())
        answered["after"] = asked(server, files, "after")
        answered["again"] = asked(server, with_other_uids(files), "again")
        wait_until(lambda: "again" in [study["request_id"] for study in studies(log)], "the last study is in the log")
        refused(server, files, request_id="expired", timeout=1)  # one microsecond in the queue
        wait_until(
            lambda: any(line.body.get("outcome") == "expired" for line in lines(log)), "Triton's own end is in the log"
        )
        again = replayed(log, "--with", "1", "--url", server.grpc_url)
        assert replayed(log, "--with", "7", "--url", server.grpc_url) == (1, None)
        with urllib.request.urlopen(serve.probe_url("/metrics"), timeout=10) as answer:
            page = answer.read().decode()
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
    return SimpleNamespace(
        log=log, answered=answered, said=said, first_log=first_log, last_log=serve.log, again=again, page=page
    )


def test_every_study_is_there_once_however_the_supervisor_ended(kept):
    ids = [study["request_id"] for study in studies(kept.log)]
    got = [name for name, report in kept.answered.items() if report is not None]
    assert {"good", BEFORE_KILL[0], "after"} <= set(got)
    assert [ids.count(name) for name in got] == [1] * len(got)
    assert len(ids) == len(set(ids))
    assert verify(kept.log / "audit").problems == []
    assert [line.kind for line in lines(kept.log)].count("started") == 2


def test_a_line_says_what_the_answer_said(kept, files):
    (study,) = [study for study in studies(kept.log) if study["request_id"] == "good"]
    report = kept.answered["good"]
    assert (study["outcome"], study["code"], study["ended_by"]) == ("answered", "", "report")
    assert (study["score"], study["label"], study["model"]) == (report["score"], report["label"], report["model"])
    assert study["input_digest"] == digest_of_files(files) == report["preprocess"]["input_digest"]
    assert study["image_digest"] == report["preprocess"]["provenance"]["image_sha256"]
    assert study["preprocessing_digest"] == report["preprocess"]["preprocessing_digest"]
    assert study["timings_s"] == report["timings_s"]
    assert [s["caller"] for s in studies(kept.log) if s["caller"]] == [study["caller"]] == ["ward-7"]


def test_studies_without_an_answer_are_there_with_their_code(kept, files):
    ends = {s["request_id"]: (s["outcome"], s["code"], s["ended_by"], s.get("input_digest")) for s in studies(kept.log)}
    assert [re.search(r"GLIO-\d{4}", said)[0] for said in kept.said] == ["GLIO-1201", "GLIO-1203", "GLIO-3104"]
    assert ends[sha256_digest(" ".join(PLANTED).encode())][:3] == ("refused", "GLIO-1201", "preprocess")
    assert ends["identified"][:3] == ("refused", "GLIO-1203", "preprocess")
    assert ends["late"] == ("cancelled", "GLIO-3104", "preprocess", digest_of_files(files))


def test_a_study_that_triton_ended_is_counted_without_an_id(kept):
    ends = [line.body for line in lines(kept.log) if line.kind == "ends" and line.body["outcome"] == "expired"]
    assert ends == [{"outcome": "expired", "code": "GLIO-4101", "studies": 1}]
    assert "expired" not in [study["request_id"] for study in studies(kept.log)]


def test_the_servers_own_log_has_heads_that_the_audit_log_still_has(kept):
    heads = [
        parse_head(line.rpartition("head=")[2])
        for line in (*kept.first_log.splitlines(), *kept.last_log.splitlines())
        if " audit log " in line
    ]
    assert len(heads) == 3  # the killed one had no time to tell its end
    assert [verify(kept.log / "audit", head).problems for head in heads] == [[]] * 3
    assert heads[-1] == verify(kept.log / "audit").head


def test_nothing_of_a_patient_is_in_any_file(kept):
    contents = {path: path.read_bytes() for path in kept.log.rglob("*") if path.is_file()}
    assert len(contents) >= 2
    for word in (*PLANTED, "Planted"):
        assert [path for path, content in contents.items() if word.encode() in content] == []


def test_the_spool_is_empty(kept):
    assert list((kept.log / "spool").glob("*.json")) == []


def test_the_command_verifies_and_shows(kept, capsys):
    head = verify(kept.log / "audit").head
    assert main(["audit", "verify", str(kept.log), "--head", str(head)]) == 0
    assert f"head {head}" in capsys.readouterr().out
    assert main(["audit", "verify", str(kept.log), "--head", f"{head.seq + 1}:{head.hash}", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["problems"] == [f"line {head.seq + 1} is missing: the log ends with line {head.seq}"]
    assert found["studies"] == len(studies(kept.log))
    assert main(["audit", "show", str(kept.log), "--outcome", "refused", "--since", "2020-01-01"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [row.split()[1:3] for row in shown] == [["refused", "GLIO-1201"], ["refused", "GLIO-1203"]]
    assert main(["audit", "show", str(kept.log), "--code", "GLIO-3104", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"]["request_id"] == "late"
    assert main(["audit", "show", str(kept.log), "--until", "2020-01-01"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["audit", "verify", str(kept.log / "spool")]) == 1
    assert "GLIO-5134" in capsys.readouterr().err


def test_the_same_version_gives_the_same_bytes_and_leaves_no_record(kept):
    code, told = kept.again
    answered = [study for study in studies(kept.log) if study["outcome"] == "answered"]
    assert (code, told["not_kept"], len(told["studies"])) == (0, 0, len(answered))
    for then, now in zip(answered, told["studies"], strict=True):
        assert (now["record_id"], now["score"], now["label"]) == (then["record_id"], then["score"], then["label"])
        assert (now["new_score"], now["new_label"]) == (then["score"], then["label"])
        assert (now["same_version"], now["same_report"], now["flipped"]) == (True, True, False)
    assert 'glioserve_studies_total{code="",outcome="answered"} 2\n' in kept.page  # those of the second server
    assert "glioserve_kept_inputs_lost_total 0" in kept.page


def test_another_version_is_asked_by_a_server_of_its_own(kept, repository, tmp_path):
    copy = shutil.copytree(repository, tmp_path / "repository")
    candidate = shutil.copytree(copy / "classifier" / "1", copy / "classifier" / "2")
    manifest = load_manifest(candidate)
    report = kept.answered["good"]
    strict = replace(manifest.recipe, threshold=0.999 if report["label"] == "recurrence" else 0.001, temperature=4.0)
    save_manifest(replace(manifest, recipe=strict), candidate)
    code, told = replayed(kept.log, "--with", "2", "--repository", str(copy))
    assert code == 0
    assert {study["new_version"] for study in told["studies"]} == {"2"}
    logit = math.log(report["score"] / (1 - report["score"]))
    wanted = 1 / (1 + math.exp(-logit * manifest.recipe.temperature / 4.0))
    assert told["studies"][0]["new_score"] == pytest.approx(wanted, abs=1e-4)
    assert all(study["flipped"] and not study["same_version"] for study in told["studies"])
    assert replayed(kept.log, "--with", "3", "--repository", str(copy)) == (1, None)


def test_an_input_that_is_gone_is_said_and_one_that_was_changed_is_refused(kept, tmp_path):
    files = {path.name: path for path in (kept.log / "inputs").glob("*.npz")}
    (study,) = [study for study in studies(kept.log) if study["request_id"] == "good"]
    digests = (study["image_digest"], study["input_digest"])
    file = files[input_file(*digests)]
    assert len(files) == 2  # every study was the same phantom, one with other pseudonyms
    assert list((kept.log / "inputs" / "incoming").iterdir()) == []
    assert file.stat().st_mode & 0o777 == 0o600
    assert find_input(tmp_path, *digests) is None
    content = bytearray(file.read_bytes())
    content[len(content) // 4] ^= 1
    (tmp_path / file.name).write_bytes(content)
    with pytest.raises(GlioserveError, match="GLIO-5134"):
        find_input(tmp_path, *digests)


def test_inputs_are_kept_only_beside_a_study_log(repository):
    with serving(repository, "--keep-inputs") as serve:
        assert serve.end() == 1
        assert "--study-log" in serve.log


def test_a_batch_with_other_studies_gives_the_same_bits(offline):
    """The reason why a replay, which asks for one study at a time, can give the bytes of a study that was batched."""
    shape = offline.session.get_inputs()[0].shape[1:]
    images = np.random.default_rng(0).random((8, *shape), dtype=np.float32)
    alone = [offline.session.run(["LOGITS", "CAM"], {"IMAGE": image[np.newaxis]}) for image in images[:2]]
    together = offline.session.run(["LOGITS", "CAM"], {"IMAGE": images})
    for n, study in enumerate(alone):
        assert [output[0].tobytes() for output in study] == [output[n].tobytes() for output in together]
