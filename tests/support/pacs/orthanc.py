"""Debian's Orthanc with its DICOMweb plugin, as a PACS for tests, in a network namespace of its own.

Orthanc 1.10.1 binds all addresses whatever its options say, so nothing of the machine's network may be there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from support.pacs import doors
from support.scripts import script
from support.server.triton import wait_until

USER, PASSWORD = "bridge", "a secret"
AE_TITLE, BRIDGE_AE_TITLE = "ORTHANC", "GLIOSERVE"
_HTTP, _DICOM, _BRIDGE = 8042, 4242, 11112
"""Ports inside the namespace."""
NAMESPACE = ("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
_FILTER = """
function ReceivedInstanceFilter(dicom, origin, info)
  local file = io.open("%s", "r")
  local refused = file:read("*l")
  file:close()
  return dicom.Modality ~= refused
end
"""


class Orthanc:
    """A PACS whose content outlives :meth:`stop`; :attr:`port` and :attr:`dicom_port` are its doors on 127.0.0.1.

    The bridge's own DICOM port must be :attr:`bridge_port`: that is where C-MOVE sends.
    """

    def __init__(self, folder: Path, program: Path, plugin: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._program, self._plugin, self._environment = folder, program, plugin, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._listening = [doors.listening_tcp(0), doors.listening_tcp(0)]
        self.port, self.dicom_port = (int(made.getsockname()[1]) for made in self._listening)
        for made, inside in zip(self._listening, (_HTTP, _DICOM), strict=True):
            doors.forward(made, doors.to_unix(folder / f"out-{inside}"))
        with doors.listening_tcp(0) as free:
            self.bridge_port = int(free.getsockname()[1])
        self._listening.append(doors.listening_unix(folder / f"in-{_BRIDGE}"))
        doors.forward(self._listening[-1], doors.to_tcp(self.bridge_port))
        (folder / "filter.lua").write_text(_FILTER % (folder / "refused"))
        self.take(all_but="")
        (folder / "orthanc.json").write_text(json.dumps(self._configuration()))

    @property
    def url(self) -> str:
        """Base URL of DICOMweb."""
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [*NAMESPACE, sys.executable, doors.__file__, str(self._folder)]
        command += ["--out", str(_HTTP), "--out", str(_DICOM), "--in", str(_BRIDGE), "--"]
        command += [str(self._program), str(self._folder / "orthanc.json")]
        log = (self._folder / "orthanc.log").open("ab")
        with log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **self._environment})
        wait_until(self._answers, "Orthanc answers")

    def stop(self) -> None:
        """End it at once, as a loss of power does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it and close the doors."""
        self.stop()
        for made in self._listening:
            doors.close(made)

    def get(self, path: str, **params: Any) -> Any:
        """JSON of its own API."""
        answer = self._request("GET", path, params=params)
        answer.raise_for_status()
        return answer.json()

    def send(self, content: bytes) -> None:
        """Put a file into it."""
        self._request("POST", "instances", data=content).raise_for_status()

    def sends(self, orthanc_id: str) -> bool:
        """Send a study to the bridge by C-STORE; whether all of it was taken."""
        answer = self._request("POST", "modalities/bridge/store", data=json.dumps({"Resources": [orthanc_id]}))
        return answer.ok and answer.json()["FailedInstancesCount"] == 0

    def remove(self, level: str, **query: str) -> None:
        """Remove what matches."""
        path = {"Study": "studies", "Instance": "instances"}[level]
        for found in self.find(level, **query):
            self._request("DELETE", f"{path}/{found['ID']}").raise_for_status()

    def lose_file(self, sop_instance_uid: str) -> None:
        """Lose the file of an instance that it goes on to list, as a failed disk does."""
        (found,) = self.find("Instance", SOPInstanceUID=sop_instance_uid)
        uuid = self.get(f"instances/{found['ID']}/attachments/dicom/info")["Uuid"]
        (self._folder / "storage" / uuid[:2] / uuid[2:4] / uuid).unlink()

    def take(self, *, all_but: str) -> None:
        """Take no object of this modality any more; of every one again where it is empty."""
        (self._folder / "refused").write_text(all_but)

    def find(self, level: str, **query: str) -> list[Any]:
        """Return what it has, with headers."""
        body = {"Level": level, "Query": query, "Expand": True}
        answer = self._request("POST", "tools/find", data=json.dumps(body))
        answer.raise_for_status()
        found: list[Any] = answer.json()
        return found

    def file(self, orthanc_id: str) -> bytes:
        """The DICOM file of an instance."""
        return self._request("GET", f"instances/{orthanc_id}/file").content

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        url = f"http://127.0.0.1:{self.port}/{path}"
        return requests.request(method, url, auth=(USER, PASSWORD), timeout=60, **options)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "orthanc.log").read_text()[-2000:]
        try:
            return self._request("GET", "system").ok
        except requests.RequestException:
            return False

    def _configuration(self) -> dict[str, Any]:
        return {
            "Name": "pacs",
            "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"),
            "Plugins": [str(self._plugin)],
            "HttpPort": _HTTP,
            "DicomPort": _DICOM,
            "DicomAet": AE_TITLE,
            "DicomCheckCalledAet": True,
            "RemoteAccessAllowed": True,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "OverwriteInstances": False,
            "DicomModalities": {"bridge": [BRIDGE_AE_TITLE, "127.0.0.1", _BRIDGE]},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "StableAge": 60,
            "LuaScripts": [str(self._folder / "filter.lua")],
            "MaximumStorageCacheSize": 0,
        }


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """A PACS that answers; the test skips where it or a network namespace cannot be had."""
    script_ = script("get_debian")
    try:
        found = script_.get_orthanc()
    except script_.FetchError as error:
        pytest.skip(f"no Orthanc: {error}")
    tried = [*NAMESPACE, "true"]
    if shutil.which("unshare") is None or subprocess.run(tried, capture_output=True, check=False).returncode != 0:
        pytest.skip("a network namespace of its own needs unshare and the right to use it")
    pacs = Orthanc(folder, found.program, found.dicomweb, found.environment)
    try:
        pacs.start()
        yield pacs
    finally:
        pacs.close()
