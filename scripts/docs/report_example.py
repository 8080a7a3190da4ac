"""Write ``docs/examples/report.json``: the REPORT that the demo model's server gives for the demo's phantom.

It starts the real server, so that the example is an answer and not a description of one. Times and pseudonyms differ
with every run; run it again when the contract changes.

    .venv/bin/python scripts/docs/report_example.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from glioserve_cli.serving.demo import PHANTOM_DIAGNOSIS, PHANTOM_SEED
from glioserve_client import DicomStudy, GliomaClient
from glioserve_contract import to_dict
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files
from glioserve_registry.demo_model import demo_repository
from glioserve_triton.process.options import ServerOptions
from glioserve_triton.process.server import TritonServer

TARGET = Path(__file__).resolve().parents[2] / "docs" / "examples" / "report.json"


def main() -> None:
    """Serve, ask once and write the answer."""
    study = DicomStudy.from_bytes(dicom_files(make_phantom(PHANTOM_SEED, PHANTOM_DIAGNOSIS)))
    with tempfile.TemporaryDirectory() as folder:
        server = TritonServer(demo_repository(Path(folder)), ServerOptions())
        server.start()
        try:
            with GliomaClient(server.grpc_url) as client:
                report = client.predict(study).report
        finally:
            server.stop()
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(to_dict(report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
