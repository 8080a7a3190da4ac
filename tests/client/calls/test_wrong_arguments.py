"""Arguments that an integrator gets wrong: each is refused at once, in words, and none is taken for something else."""

import asyncio
import copy
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glioserve_client import (
    AsyncGliomaClient,
    ConnectionOptions,
    DicomStudy,
    GliomaClient,
    Modality,
    RetryPolicy,
    TlsOptions,
    Volume,
    VolumeStudy,
    errors,
)
from glioserve_client import write_outputs as write
from glioserve_client.options import check_headers, check_url
from glioserve_client.testing import FakeTransport, answer, prediction
from support.studies.dicom_files import file_bytes, mr_dataset

FILE = file_bytes(mr_dataset())
STUDY = DicomStudy.from_bytes([FILE])
CLIENT: Any = GliomaClient
STUDIES: Any = DicomStudy
VOLUMES: Any = VolumeStudy
VOLUME = Volume(np.ones((3, 3, 3)), np.eye(4))


def client(**arguments: Any) -> Any:
    return CLIENT("fake:1", transport=FakeTransport(answer("recurrence")), **arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"identified": "no"}, "identified must be True or False, not str"),
        ({"identified": 1}, "identified must be True or False, not int"),
        ({"timeout_s": "60"}, "must be a number of seconds, not str"),
        ({"timeout_s": True}, "must be a number of seconds, not bool"),
        ({"tls": True}, r"tls must be TlsOptions\(...\), or None for plain text, not bool"),
        ({"tls": "ca.pem"}, r"tls must be TlsOptions\(...\), or None for plain text, not str"),
        ({"token": "secret"}, "token must be a function that returns the token"),
        ({"retry": 3}, "retry must be a RetryPolicy, not int"),
        ({"connection": {}}, r"connection must be ConnectionOptions\(...\), not dict"),
        ({"model_name": None}, "model_name must be a text, not NoneType"),
        ({"headers": [("a", "b")]}, "headers must be a mapping"),
        ({"headers": {"a": 1}}, "all of them texts"),
    ],
)
def test_an_argument_of_a_client(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        client(**arguments)


def test_the_types_that_are_near_are_taken(tmp_path: Path) -> None:
    client(timeout_s=np.float32(5), headers={}).close()
    (file := tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    assert TlsOptions(str(file)) == TlsOptions(file)
    assert TlsOptions(file.read_text()) == TlsOptions(file.read_bytes())
    with pytest.raises(errors.InvalidTlsError, match="root_certificates cannot be read: No such file"):
        client(tls=TlsOptions(str(tmp_path / "none.pem")))
    with pytest.raises(TypeError, match="private_key must be a file's path or PEM as bytes, not int"):
        TlsOptions(private_key=5, certificate_chain=b"")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "triton",
        "triton:",
        ":8001",
        "triton:http",
        "triton:0",
        "triton:99999",
        "triton:8001/",
        "::1:8001",
        "dns:///a:x",
    ],
)
def test_a_url_that_no_server_can_have(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|brackets"):
        check_url(url)


def test_urls_of_every_form() -> None:
    urls = ["triton:8001", "[::1]:8001", "dns:triton:8001", "dns:///triton:8001", "dns://1.1.1.1/triton:8001"]
    for url in (*urls, "unix:/run/glioserve", "unix:///run/glioserve", "ipv4:10.0.0.1:8001,10.0.0.2:8001"):
        assert check_url(url) == url


@pytest.mark.parametrize("name", ["a b", "grpc-timeout", "x-study-bin", "x:y", ""])
def test_a_header_that_grpc_would_not_take(name: str) -> None:
    with pytest.raises(ValueError, match="a name has letters"):
        check_headers({name: "x"})


@pytest.mark.parametrize(
    ("token", "kind", "said"),
    [
        (None, TypeError, "must return a text, not NoneType"),
        (" \n", ValueError, "an empty text"),
        (b"x", TypeError, "bytes"),
    ],
)
def test_a_token_that_is_none(token: Any, kind: type[Exception], said: str) -> None:
    with client(token=lambda: token) as one, pytest.raises(kind, match=said):
        one.predict(STUDY)


def test_the_line_break_of_a_tokens_file_is_not_sent() -> None:
    transport = FakeTransport(answer("recurrence"))
    with GliomaClient("fake:1", transport=transport, token=lambda: "secret\n") as one:
        one.predict(STUDY)
    assert transport.requests[0].metadata["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"request_id": 5}, ValueError),
        ({"series": [("t1", "1.2")]}, TypeError),
        ({"series": {"t1": None}}, TypeError),
        ({"timeout_s": "5"}, TypeError),
        ({"timeout_s": 1e12}, ValueError),  # gRPC's clock cannot hold it: the call would end at once
        ({"timeout_s": 1e300}, ValueError),
        ({"headers": {"x": None}}, TypeError),
        ({"heatmap": "false"}, ValueError),
    ],
)
def test_an_argument_of_a_call(arguments: dict[str, Any], kind: type[Exception]) -> None:
    with client() as one, pytest.raises(kind, match="must be"):
        one.predict(STUDY, **arguments)


@pytest.mark.parametrize("content", ["text", None, io.BytesIO(FILE), mr_dataset(), Path("IM1")])
def test_what_is_not_a_files_bytes(content: Any) -> None:
    with pytest.raises(TypeError, match="from_bytes takes files as bytes, not"):
        DicomStudy.from_bytes([content])


def test_bytes_that_may_change_are_copied() -> None:
    content = bytearray(FILE)
    study = STUDIES.from_bytes([content, memoryview(FILE)])
    content[:] = bytes(len(content))
    assert {file.content for file in study.files} == {FILE}
    with client() as one:
        assert one.predict(study).score == pytest.approx(0.87)


def test_an_empty_name_is_not_the_folder_of_the_process() -> None:
    with pytest.raises(errors.EmptyStudyError, match="name is empty"):
        DicomStudy.from_directory("")
    with client() as one, pytest.raises(errors.EmptyStudyError, match="has no file"):
        one.predict(DicomStudy(()))


def test_volumes() -> None:
    for given in ([VOLUME], None, "t1.nii.gz"):
        with pytest.raises(TypeError, match="a mapping of sequences is needed"):
            VOLUMES(given)
        with pytest.raises(TypeError, match="a mapping of sequences is needed"):
            VOLUMES.from_nifti(given)
    with pytest.raises(TypeError, match=r"t1: make a Volume\(voxels, lps_from_voxel\) of the ndarray"):
        VOLUMES({"t1": np.ones((3, 3, 3))})
    with pytest.raises(ValueError, match="the sequences are t1, t1ce, t2, flair"):
        VOLUMES({"T1": VOLUME})
    masked = np.ma.masked_less(np.arange(27.0).reshape(3, 3, 3), 5)
    with pytest.raises(errors.UnsupportedVoxelsError, match=r"filled\(numpy.nan\)"):
        Volume(masked, np.eye(4))
    assert np.isnan(Volume(masked.filled(np.nan), np.eye(4)).voxels).sum() == 5


def failing() -> Iterator[DicomStudy]:
    yield STUDY
    raise OSError("the list of studies has ended early")


def test_an_iterable_that_fails_loses_no_study() -> None:
    with client() as one:
        outcomes = one.predict_many(failing())
        assert next(outcomes).result().score == pytest.approx(0.87)
        with pytest.raises(OSError, match="ended early"):
            next(outcomes)

    async def run() -> None:
        async with AsyncGliomaClient("fake:1", transport=FakeTransport(answer("recurrence"))) as other:
            outcomes = other.predict_many(failing())
            assert (await anext(outcomes)).result().score == pytest.approx(0.87)
            with pytest.raises(OSError, match="ended early"):
                await anext(outcomes)

    asyncio.run(run())
    for given in (STUDY, "study"):
        with client() as one, pytest.raises(TypeError, match=r"predict_many\(\[study\]\)"):
            list(one.predict_many(given))


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"concurrency": "4"}, TypeError, "concurrency must be a whole number, not str"),
        ({"concurrency": 1.5}, TypeError, "concurrency must be a whole number, not float"),
        ({"concurrency": 0}, ValueError, "concurrency must be 1 or more"),
        ({"progress": True}, TypeError, "progress must be a function"),
    ],
)
def test_an_argument_of_many_calls(arguments: dict[str, Any], kind: type[Exception], said: str) -> None:
    async def run() -> None:
        async with AsyncGliomaClient("fake:1", transport=FakeTransport(answer("recurrence"))) as other:
            async for _ in other.predict_many([STUDY], **arguments):
                pass

    with client() as one, pytest.raises(kind, match=said):
        list(one.predict_many([STUDY], **arguments))
    with pytest.raises(kind, match=said):
        asyncio.run(run())
    with client() as one, pytest.raises(TypeError, match="not one NoneType"):
        list(one.predict_many(None))


@pytest.mark.parametrize(
    ("options", "arguments", "kind"),
    [
        (RetryPolicy, {"max_attempts": "3"}, TypeError),
        (RetryPolicy, {"max_attempts": 0}, ValueError),
        (RetryPolicy, {"first_pause_s": float("nan")}, ValueError),
        (RetryPolicy, {"most_a_minute": -1}, ValueError),
        (ConnectionOptions, {"keepalive_time_s": "5"}, TypeError),
        (ConnectionOptions, {"keepalive_timeout_s": -1}, ValueError),
        (ConnectionOptions, {"resolve_again_s": float("inf")}, ValueError),
        (ConnectionOptions, {"http_proxy": "no"}, TypeError),
    ],
)
def test_options(options: Any, arguments: dict[str, Any], kind: type[Exception]) -> None:
    (name,) = arguments
    with pytest.raises(kind, match=f"{name} must be"):
        options(**arguments)


def test_a_study_that_nothing_has_read() -> None:
    for given in (Path("study"), (FILE,), [FILE], None):
        with pytest.raises(TypeError, match="is read by from_directory"):
            STUDIES(given)
    for read in (STUDIES.from_files, STUDIES.from_bytes):
        with pytest.raises(TypeError, match="takes a list of"):
            read(None)


def test_what_is_pickled_is_the_same_and_as_frozen() -> None:
    study = VolumeStudy({Modality.T1CE: VOLUME})
    again = pickle.loads(pickle.dumps(study))
    assert again.volumes[Modality.T1CE].voxels.tobytes() == VOLUME.voxels.tobytes()
    one = prediction("recurrence")
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), type(one).from_json(one.to_json())):
        assert other == one
        assert other.heatmap is not None
        with pytest.raises(ValueError, match="read-only"):
            other.heatmap.voxels[0, 0, 0] = 1
    for changed in (again, copy.deepcopy(study)):
        with pytest.raises(ValueError, match="read-only"):
            changed.volumes[Modality.T1CE].voxels[0, 0, 0] = 1


def test_a_client_stays_in_its_process_and_closed() -> None:
    with client() as one:
        for leave in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="make one in each process"):
                leave(one)
    with pytest.raises(RuntimeError, match="is closed"), one:
        pass


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "other"}', "null", prediction("recurrence").report_json()]
)
def test_a_text_that_is_not_a_stored_prediction(text: str) -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match="Give what to_json wrote"):
        type(prediction("recurrence")).from_json(text)


def test_outputs(tmp_path: Path) -> None:
    one: Any = prediction("recurrence")
    with pytest.raises(TypeError, match="a study is needed, not str"):
        write(one, tmp_path, "study")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the answer of predict comes first"):
        write(tmp_path, one)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
