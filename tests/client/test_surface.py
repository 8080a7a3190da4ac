"""The names that integrators import, and what importing them must not drag in."""

import subprocess
import sys
from pathlib import Path

import tomllib

import glioserve_client

FROZEN = """NO_RETRY AsyncGliomaClient CodedError ConnectionOptions DicomStudy ErrorCode GliomaClient GlioserveError
Heatmap Label Modality ModelAnswerError Outcome Prediction PredictionFuture RetryPolicy ServerError ServerInfo
SetUpError Study StudyError TlsOptions TransportError Volume VolumeStudy WrittenOutputs __version__ summary
write_outputs""".split()
HEAVY = ("torch", "monai", "SimpleITK", "onnxruntime", "pytriton", "matplotlib")
"""Not scipy: nibabel imports it where it happens to be installed."""


def test_the_public_names_are_these() -> None:
    """Removing one breaks a caller's service; adding one is a promise. Change the list and CHANGELOG.md together."""
    assert sorted(glioserve_client.__all__) == sorted(FROZEN)
    assert all(hasattr(glioserve_client, name) for name in FROZEN)


def test_the_client_imports_nothing_heavy_and_nothing_of_the_servers() -> None:
    code = "import sys, glioserve_client, glioserve_cli.serving.predict; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & set(HEAVY)
    ours = {"glioserve_cli", "glioserve_client", "glioserve_contract", "glioserve_dicom"}
    assert {name for name in loaded if name.startswith("glioserve")} == ours


def test_what_a_name_needs_is_loaded_when_it_is_used() -> None:
    libraries = ("numpy", "grpc", "pydicom", "google.protobuf", "PIL")
    code = f"""
import sys, glioserve_client as client
loaded = lambda: [name for name in {libraries!r} if name in sys.modules]
print(loaded(), "DicomStudy" in dir(client), client.__version__)
client.errors.StudyError, client.DicomStudy, client.GliomaClient
print(loaded())
client.Studies
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == [f"[] True {glioserve_client.__version__}", str([*libraries])]
    assert done.stderr.endswith("AttributeError: module 'glioserve_client' has no attribute 'Studies'\n")


def test_every_place_states_the_same_version() -> None:
    root = Path(__file__).resolve().parents[2]
    for page in (root / "pyproject.toml", root / "client" / "pyproject.toml"):
        assert tomllib.loads(page.read_text())["project"]["version"] == glioserve_client.__version__
