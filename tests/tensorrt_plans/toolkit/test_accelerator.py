"""Discovery of a machine's GPU and its TensorRT, in every form that was seen or documented."""

from __future__ import annotations

import importlib.util
import inspect
import re
import time
from pathlib import Path

import pynvml
import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.plans import accelerator as found_here
from glioserve_triton.plans.accelerator import Device, find_device, find_tensorrt_version, parse_banner, parse_dpkg
from support.tensorrt.engines import A30, L4, TESTS, Machine

DPKG = """\
Desired=Unknown/Install/Remove/Purge/Hold
| Status=Not/Inst/Conf-files/Unpacked/halF-conf/Half-inst/trig-aWait/Trig-pend
||/ Name                  Version                  Architecture Description
+++-=====================-========================-============-=================================
ii  libnvinfer-bin        10.16.1.11-1+cuda13.2    amd64        TensorRT binaries
ii  libnvinfer10          10.16.1.11-1+cuda13.2    amd64        TensorRT runtime libraries
rc  libnvinfer8           8.6.1.6-1+cuda12.0       amd64        TensorRT runtime libraries
un  libnvinfer11          <none>                   <none>       (no description available)
"""


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101601] [b11] # trtexec --help", "10.16.1.11"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101200] [b36] # /usr/src/tensorrt/bin/trtexec", "10.12.0.36"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v110201] [b3] # trtexec --onnx=m.onnx", "11.2.1.3"),
        ("[I] Starting\n&&&& RUNNING TensorRT.trtexec [TensorRT v110000]", "11.0.0"),
        ("bash: trtexec: command not found", None),
        ("", None),
    ],
)
def test_the_banner_has_all_four_numbers(line: str, version: str | None) -> None:
    assert parse_banner(line) == version


def test_debians_list_counts_what_is_installed_alone() -> None:
    assert parse_dpkg(DPKG) == "10.16.1.11"
    assert parse_dpkg(DPKG.replace("ii  libnvinfer10 ", "rc  libnvinfer10 ")) is None
    held = DPKG.replace("ii  libnvinfer10 ", "hi  libnvinfer10 ")  # apt-mark hold
    assert parse_dpkg(held) == "10.16.1.11"
    both = DPKG.replace("un  libnvinfer11          <none>  ", "ii  libnvinfer11          11.0.0.114-1+cuda13.3  ")
    assert parse_dpkg(both) == "11.0.0.114"


def test_one_gpu(machine: Machine) -> None:
    assert find_device() == Device("NVIDIA A30", "8.0", "580.65.06")


def test_bindings_that_give_bytes_are_understood(machine: Machine) -> None:
    machine.gpus(A30, as_bytes=True)
    assert find_device() == Device("NVIDIA A30", "8.0", "580.65.06")


def test_several_alike_are_one_kind(machine: Machine) -> None:
    machine.gpus(A30, A30, A30)
    assert find_device() == Device("NVIDIA A30", "8.0", "580.65.06")


def test_gpus_of_different_kinds_are_named(machine: Machine) -> None:
    machine.gpus(A30, L4)
    with pytest.raises(GlioserveError, match=r"NVIDIA A30 \(compute capability 8.0\), NVIDIA L4 .*NVIDIA_VISIBLE") as e:
        find_device()
    assert e.value.code is ErrorCode.ENGINE_BUILD_FAILED


def test_a_gpu_of_another_container_is_not_counted(machine: Machine) -> None:
    machine.gpus({**L4, "error": "NoPermission"}, A30)
    assert find_device() == Device("NVIDIA A30", "8.0", "580.65.06")


@pytest.mark.parametrize(
    ("mig", "name"),
    [
        ({"name": "NVIDIA A30 MIG 1g.6gb"}, "NVIDIA A30 (MIG 1g.6gb)"),
        ({"name": "NVIDIA A30 MIG 1g.6gb+me"}, "NVIDIA A30 (MIG 1g.6gb+me)"),
        ({"name": "NVIDIA A30", "size": [1, 1, 5952]}, "NVIDIA A30 (MIG 1g.6gb)"),
        ({"name": "NVIDIA A30", "size": [2, 1, 11968]}, "NVIDIA A30 (MIG 1c.2g.12gb)"),
    ],
)
def test_a_mig_slice_is_another_device_than_its_gpu(machine: Machine, mig: dict[str, object], name: str) -> None:
    machine.gpus({**A30, "slices": [mig]})
    assert find_device() == Device(name, "8.0", "580.65.06")


def test_a_process_has_the_slices_that_it_was_given(machine: Machine) -> None:
    """Slots without a slice and slices of other containers are passed over; a GPU in one piece is itself."""
    one, two = {"name": "NVIDIA A30 MIG 1g.6gb"}, {"name": "NVIDIA A30 MIG 2g.12gb"}
    machine.gpus({**A30, "slices": [None, {**two, "error": "NoPermission"}, one, None]})
    device = find_device()
    assert device is not None
    assert device.name == "NVIDIA A30 (MIG 1g.6gb)"
    machine.gpus({**A30, "slices": [two, one]})
    with pytest.raises(GlioserveError, match=r"MIG 2g.12gb.*MIG 1g.6gb"):
        find_device()
    for whole in ({**A30, "slices": None}, {**A30, "slices": []}):  # MIG off; on, and nothing divided
        machine.gpus(whole)
        assert find_device() == Device("NVIDIA A30", "8.0", "580.65.06")


@pytest.mark.parametrize("error", ["LibraryNotFound", "DriverNotLoaded"])
def test_no_driver_is_none(machine: Machine, error: str) -> None:
    machine.gpus(A30, error=error)
    assert find_device() is None
    assert "driver" in found_here.no_device_reason()


def test_no_gpu_is_none(machine: Machine) -> None:
    machine.gpus()
    assert find_device() is None
    machine.gpus(A30, {**A30, "error": "GpuIsLost"})
    assert find_device() is None


def test_a_driver_that_hangs_is_left_alone(machine: Machine) -> None:
    machine.gpus(A30, seconds=60)
    start = time.monotonic()
    assert find_device(timeout_s=0.3) is None
    assert time.monotonic() - start < 20


def test_without_the_package_there_is_none(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = machine.folder / "absent"
    absent.mkdir()
    (absent / "pynvml.py").write_text("raise ModuleNotFoundError('pynvml')\n")
    machine.import_from(absent)
    assert find_device() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert found_here.no_device_reason().startswith("the Python package nvidia-ml-py is not installed")


def test_the_real_package_has_all_that_is_asked() -> None:
    """Names, arguments and error classes that the program uses, and those that the stand-in offers in their place."""
    used = set(re.findall(r"\bpynvml\.(\w+)", Path(found_here.__file__).with_name("nvml.py").read_text()))
    code = compile((TESTS / "support" / "tensorrt" / "nvml_fake" / "pynvml.py").read_text(), "pynvml", "exec")
    fake: dict[str, object] = {"__name__": "fake"}
    exec(code, fake)
    assert used <= set(fake)
    for name in {*used, *(n for n in fake if n.startswith(("nvml", "NVML")))}:
        real, stand_in = getattr(pynvml, name), fake[name]
        if isinstance(stand_in, type):
            assert issubclass(real, pynvml.NVMLError), name
        elif callable(stand_in):
            expected = [*inspect.signature(real).parameters]
            assert [*inspect.signature(stand_in).parameters] == expected, name
        else:
            assert real == stand_in, name
    fields = {name for name, _ in pynvml.c_nvmlDeviceAttributes._fields_}
    assert {"gpuInstanceSliceCount", "computeInstanceSliceCount", "memorySizeMB"} <= fields


def test_the_library_that_triton_loads_is_asked_first_then_the_python_package_then_trtexec(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.trtexec()
    machine.set(FAKE_TRT_VERSION="11.4.0.106")
    assert find_tensorrt_version() == "11.4.0.106"
    machine.python_package()
    machine.set(FAKE_TRT_VERSION="10.12.0.36")
    asked = []
    monkeypatch.setattr(found_here, "trtexec_version", lambda *_: asked.append("trtexec"))
    assert find_tensorrt_version() == "10.12.0.36"
    machine.program("dpkg", f"#!/bin/sh\ncat <<'EOF'\n{DPKG}EOF\n")
    assert find_tensorrt_version() == "10.16.1.11"  # the package has brought another library of its own
    assert asked == []


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("10.14.1.48.post1", "10.14.1.48"),
        ("10.13.3.9.post1", "10.13.3.9"),
        ("11.0.0", "11.0.0"),
        ("10.16.1.11+cuda13", "10.16.1.11"),
        ("unknown", None),
    ],
)
def test_the_packages_version_is_tensorrts_own(machine: Machine, version: str, found: str | None) -> None:
    """The version equals dpkg's and the banner's, whatever the packaging adds to it."""
    machine.python_package()
    machine.set(FAKE_TRT_VERSION=version)
    assert found_here.python_package_version() == found


def test_a_package_that_cannot_be_imported_is_not_there(machine: Machine) -> None:
    broken = machine.folder / "broken" / "tensorrt"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("import os; os.abort()\n")  # as without its libraries
    machine.set(PYTHONPATH=str(broken.parent))
    machine.program("dpkg", "#!/bin/sh\nexit 1\n")
    assert find_tensorrt_version() is None


def test_trtexec_is_found_off_path(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = machine.folder / "src" / "tensorrt" / "bin"
    elsewhere.mkdir(parents=True)
    machine.trtexec().rename(elsewhere / "trtexec")
    monkeypatch.setattr(found_here, "TRTEXEC_PLACES", (str(elsewhere / "trtexec"),))
    assert found_here.find_trtexec() == elsewhere / "trtexec"
