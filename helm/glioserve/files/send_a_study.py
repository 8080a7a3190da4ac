"""Send a phantom study through the service, as a client does, and end with a line that names what is wrong.

The chart's test pod runs it. It reads GLIOSERVE_URL and GLIOSERVE_PROBES (addresses), GLIOSERVE_SCORE (least, highest),
GLIOSERVE_TLS (folder with the authority), and what the caller shows: GLIOSERVE_CLIENT_TLS (folder with its certificate)
and GLIOSERVE_TOKEN (bearer token), each "missing" where one is needed and none was given.
"""

import os
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from glioserve_client import DicomStudy, GliomaClient, TlsOptions
from glioserve_contract import GlioserveError
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import write_study


def readiness(probes: str) -> str:
    """Return what keeps the server from being ready, in its own words; empty where nothing does."""
    try:
        with urllib.request.urlopen(f"{probes}/readyz", timeout=20):  # noqa: S310 - the chart's own address
            return ""
    except urllib.error.HTTPError as error:
        return f"not ready: {'; '.join(error.read().decode().splitlines())}"
    except OSError as error:
        return f"no answer from {probes}: {error}"


def tls() -> TlsOptions | None:
    """Return the credentials; None for plain text."""
    folder, client = (os.environ.get(name) for name in ("GLIOSERVE_TLS", "GLIOSERVE_CLIENT_TLS"))
    if folder is None:
        return None
    authority = next(path for path in (Path(folder) / "ca.crt", Path(folder) / "tls.crt") if path.is_file())
    if client is None:
        return TlsOptions(authority)
    return TlsOptions(authority, Path(client) / "tls.key", Path(client) / "tls.crt")


def main() -> str | None:
    """Return what is wrong; None where the study was answered as it must be."""
    url = os.environ["GLIOSERVE_URL"]
    if reason := readiness(os.environ["GLIOSERVE_PROBES"]):
        return reason
    token = os.environ.get("GLIOSERVE_TOKEN")
    if os.environ.get("GLIOSERVE_CLIENT_TLS") == "missing":
        print("ready; no study was sent, since callers need a certificate: set test.clientSecret")
        return None
    if token == "missing":
        print("ready; no study was sent, since callers need a token or key: set test.tokenSecret")
        return None
    least, most = map(float, os.environ["GLIOSERVE_SCORE"].split())
    with tempfile.TemporaryDirectory() as folder:
        write_study(make_phantom(7, "recurrence"), Path(folder))
        study = DicomStudy.from_directory(folder, in_memory=True)  # the folder goes before it is sent
    try:
        headers = {"authorization": f"Bearer {token.strip()}"} if token else None
        with GliomaClient(url, tls=tls(), headers=headers) as client:
            answer = client.predict(study, heatmap=False)
    except GlioserveError as error:
        return f"no answer from {url}: {error}"
    print(f"score {answer.score:.4f} by {answer.model.name}, version {answer.model.version}")
    if not least <= answer.score <= most:
        bounds = f"{least:g} to {most:g} (test.minScore, test.maxScore)"
        return f"the phantom's score is {answer.score:.4f}, and must be {bounds}"
    return None


if __name__ == "__main__":
    sys.exit(main())
