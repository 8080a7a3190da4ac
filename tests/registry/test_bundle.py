"""Bundles: made of parts that fit, verified offline to the last byte, by common tools too, and installed."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_registry.bundle.archive import SIGNATURE, SUMS, read_archive, write_archive
from glioserve_registry.bundle.bundle import Parts, check, create, unpack

ROOT = Path(__file__).resolve().parents[2]
IMAGE = f"registry.example.org/glioserve@sha256:{'a' * 64}"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FILES = {"bundle.json": b"{}", "models/glioma/config.pbtxt": b"name", f"chart/{'long-' * 30}ü.yaml": b"x" * 1500}


@dataclass(frozen=True)
class Keys:
    """A pair of keys as files."""

    private: Path
    public: Path


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    pair = Keys(tmp_path / "private.pem", tmp_path / "public.pem")
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    pair.private.write_bytes(KEY.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    pair.public.write_bytes(KEY.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return pair


def refused(source: Path, code: ErrorCode = ErrorCode.INVALID_BUNDLE) -> str:
    with pytest.raises(GlioserveError) as caught:
        read_archive(source, KEY.public_key())
    assert caught.value.code is code, caught.value
    return caught.value.detail


# --- The archive ---


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("archive") / "bundle.tar"
    write_archive(target, FILES, KEY)
    return target


def test_what_goes_in_comes_out_and_the_same_files_make_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    found = {}
    contents = read_archive(archive, KEY.public_key(), lambda name, content: found.update({name: content.read()}))
    assert found == FILES
    assert contents.names == tuple(sorted(FILES))
    write_archive(tmp_path / "again", dict(reversed(FILES.items())), KEY)
    assert (tmp_path / "again").read_bytes() == archive.read_bytes()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(archive: Path, place: float, bit: int) -> None:
    content = bytearray(archive.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    flipped = archive.with_name("flipped.tar")
    flipped.write_bytes(content)
    with pytest.raises(GlioserveError) as caught:
        read_archive(flipped, KEY.public_key())
    assert caught.value.code in (ErrorCode.INVALID_BUNDLE, ErrorCode.UNTRUSTED_BUNDLE)


@pytest.mark.parametrize("kept", [0, 100, 1024, 5000, 0.5, -1], ids=str)
def test_a_bundle_that_is_cut_off_is_refused(archive: Path, tmp_path: Path, kept: float) -> None:
    whole = archive.read_bytes()
    length = int(kept * len(whole)) if isinstance(kept, float) else kept if kept >= 0 else len(whole) + kept
    (tmp_path / "cut").write_bytes(whole[:length])
    refused(tmp_path / "cut")


def rewritten(archive: Path, target: Path, change: str) -> Path:
    """The archive by an ordinary tar's hand: a file left out, added, doubled, or made a link."""
    with tarfile.open(archive) as old, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old.getmembers():
            if change == "missing" and member.name.startswith("models/"):
                continue
            if change == "link" and member.name.startswith("models/"):
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
                new.addfile(member)
                continue
            new.addfile(member, old.extractfile(member))
            if change == "double" and member.name.startswith("models/"):
                new.addfile(member, old.extractfile(member))
        if change in ("extra", "outside"):
            extra = tarfile.TarInfo("models/extra" if change == "extra" else "../outside")
            extra.size = 3
            new.addfile(extra, io.BytesIO(b"abc"))
    return target


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", "'models/glioma/config.pbtxt' is missing"),
        ("extra", "'models/extra' is not in the signed list of files"),
        ("outside", "'../outside' is not in the signed list of files"),
        ("double", "'models/glioma/config.pbtxt' is there twice"),
        ("link", "the header of 'models/glioma/config.pbtxt' is not as it was written"),
    ],
)
def test_another_set_of_files_is_refused(archive: Path, tmp_path: Path, change: str, said: str) -> None:
    assert said in refused(rewritten(archive, tmp_path / "changed.tar", change))


def test_another_key_is_refused(archive: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "other", FILES, Ed25519PrivateKey.generate())
    assert "was not signed by this key" in refused(tmp_path / "other", ErrorCode.UNTRUSTED_BUNDLE)


def test_bytes_after_the_end_are_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "longer").write_bytes(archive.read_bytes() + b"\0" * 512)
    assert "more after the last file" in refused(tmp_path / "longer")


@pytest.mark.parametrize("name", ["/a", "../a", "a/../b", "a//b", "a/./b", "", "a\nb", "a\\b", SUMS, SIGNATURE])
def test_a_name_that_could_leave_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(GlioserveError, match="cannot be the name"):
        write_archive(tmp_path / "b", {name: b""}, KEY)


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("sha256sum")), reason="no openssl or sha256sum")
def test_it_is_verified_by_tools_that_everyone_has(archive: Path, keys: Keys, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", str(archive), "-C", str(tmp_path)], check=True, timeout=60)
    signed = ["-pubin", "-inkey", str(keys.public), "-rawin", "-in", SUMS, "-sigfile", SIGNATURE]
    subprocess.run(["openssl", "pkeyutl", "-verify", *signed], cwd=tmp_path, check=True, timeout=60)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", SUMS], cwd=tmp_path, check=True, timeout=60)


# --- The parts ---


def wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """A wheel with nothing but its metadata, as a packaging tool writes it."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def parts(tmp_path: Path, repository: Path) -> Parts:
    chart = tmp_path / "chart"
    shutil.copytree(ROOT / "helm" / "glioserve", chart)
    wheel(tmp_path / "wheels", "glioserve", "0.1.0", "glioserve-client==0.1.0")
    wheel(tmp_path / "wheels", "glioserve_client", "0.1.0", "numpy>=1.0")
    wheel(tmp_path / "wheels", "numpy", "2.0.0")
    return Parts(tmp_path / "wheels", chart, repository, (IMAGE,), "glioserve")


def test_parts_that_fit_become_a_bundle_that_unpacks(parts: Parts, keys: Keys, tmp_path: Path) -> None:
    made = create(tmp_path / "b.tar", parts, KEY)
    assert check(tmp_path / "b.tar", KEY.public_key()) == made
    assert made.record.images == (IMAGE,)
    assert unpack(tmp_path / "b.tar", KEY.public_key(), tmp_path / "out") == made
    for part, source in (("wheels", parts.wheels), ("chart/glioserve", parts.chart), ("models", parts.models)):
        for file in (each for each in source.rglob("*") if each.is_file()):
            copy = tmp_path / "out" / part / file.relative_to(source)
            assert hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256(file.read_bytes()).digest()
    with pytest.raises(GlioserveError, match="is there already"):
        unpack(tmp_path / "b.tar", KEY.public_key(), tmp_path / "out")


TAMPERED = {
    "wheels": b"Metadata-Version",
    "chart": b"kubeVersion:",
    "models": b"max_batch_size",
    "image digests": IMAGE.encode(),
    "list of files": b"  chart/glioserve/Chart.yaml\n",
}
"""Bytes that one part of the bundle has."""


@pytest.mark.parametrize("part", TAMPERED)
def test_nothing_is_left_of_a_bundle_with_a_part_that_is_wrong(parts: Parts, tmp_path: Path, part: str) -> None:
    create(tmp_path / "b.tar", parts, KEY)
    content = bytearray((tmp_path / "b.tar").read_bytes())
    content[content.index(TAMPERED[part])] ^= 1
    (tmp_path / "b.tar").write_bytes(content)
    before = sorted(path.name for path in tmp_path.iterdir())
    for refuse in (lambda: check(tmp_path / "b.tar", KEY.public_key()),
                   lambda: unpack(tmp_path / "b.tar", KEY.public_key(), tmp_path / "out")):  # fmt: skip
        with pytest.raises(GlioserveError) as caught:
            refuse()
        untrusted = part == "list of files"  # the one thing that is signed
        assert caught.value.code is (ErrorCode.UNTRUSTED_BUNDLE if untrusted else ErrorCode.INVALID_BUNDLE)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no wheel", "has no wheel of glioserve_client: run make wheels"),
        ("missing dependency", "cannot be installed from the wheels alone: .*numpy"),
        ("other version", "the chart is for glioserve 0.1.0, and the wheels are 0.2.0"),
        ("two versions", "the wheels are of versions 0.1.0 and 0.2.0"),
        ("tag", "is not named by its digest"),
        ("no chart", "Chart.yaml cannot be read"),
        ("changed model", "the models are not as they were exported"),
    ],
)
def test_a_part_that_does_not_fit_is_named(parts: Parts, tmp_path: Path, fault: str, said: str) -> None:
    if fault in ("no wheel", "other version", "two versions"):
        next(parts.wheels.glob("glioserve_client*")).unlink()
    if fault == "missing dependency":
        next(parts.wheels.glob("numpy*")).unlink()
    if fault in ("other version", "two versions"):
        wheel(parts.wheels, "glioserve_client", "0.2.0")
    if fault == "other version":
        next(parts.wheels.glob("glioserve-*")).unlink()
        wheel(parts.wheels, "glioserve", "0.2.0")
    if fault == "no chart":
        (parts.chart / "Chart.yaml").unlink()
    if fault == "changed model":
        file = next(parts.models.rglob("model.onnx"))
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(GlioserveError, match=said) as caught:
        create(tmp_path / "b.tar", replace(parts, images=("r/glioserve:1",)) if fault == "tag" else parts, KEY)
    assert caught.value.code is ErrorCode.INVALID_BUNDLE
    assert not (tmp_path / "b.tar").exists()


# --- The command ---


def test_the_command(parts: Parts, keys: Keys, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(tmp_path / "b.tar")
    made = ["--wheels", str(parts.wheels), "--chart", str(parts.chart), "--models", str(parts.models)]
    made += ["--image", IMAGE, "--requirement", "glioserve"]
    assert main(["bundle", "create", bundle, "--key", str(keys.private), *made]) == 0
    assert main(["bundle", "verify", bundle, "--key", str(keys.public)]) == 0
    out = capsys.readouterr().out
    assert "written: glioserve 0.1.0, " in out
    assert "right: glioserve 0.1.0, " in out
    assert f"image {IMAGE}" in out
    assert main(["bundle", "unpack", bundle, "--key", str(keys.public), "--into", str(tmp_path / "site")]) == 0
    assert f"pip install --no-index --find-links {tmp_path / 'site' / 'wheels'} 'glioserve'" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["text", "private for public", "another kind", "missing"])
def test_an_unfit_key_is_named(
    archive: Path, keys: Keys, tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key.pem"
    if fault == "text":
        key.write_text("not a key")
    elif fault == "private for public":
        key.write_bytes(keys.private.read_bytes())
    elif fault == "another kind":
        other = generate_private_key(SECP256R1()).public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        key.write_bytes(other.public_bytes(serialization.Encoding.PEM, form))
    assert main(["bundle", "verify", str(archive), "--key", str(key)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("[GLIO-5133] ")
    assert "key.pem is not a" in said


@pytest.mark.slow
def test_a_site_without_a_network_installs_it(parts: Parts, keys: Keys, tmp_path: Path) -> None:
    """Our real wheels and all that they need, into an environment that has nothing, by pip without an index."""
    shutil.rmtree(parts.wheels)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--wheel-dir", str(parts.wheels), str(ROOT / "client"), str(ROOT)]
    ours = os.environ | {"GLIOSERVE_CLIENT": "==0.1.0"}  # by its version, as make wheels has it
    if subprocess.run(build, env=ours, check=False, timeout=600).returncode:
        pytest.skip("the wheels cannot be built here")
    need = [*pip, "download", "--dest", str(parts.wheels), "--find-links", str(parts.wheels), "-c"]
    done = subprocess.run([*need, str(ROOT / "constraints.txt"), "glioserve[tls]"], check=False, timeout=600)
    if done.returncode:
        pytest.skip("no package index is reachable")
    create(tmp_path / "b.tar", replace(parts, requirement="glioserve[tls]"), KEY)
    unpack(tmp_path / "b.tar", KEY.public_key(), tmp_path / "site")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=300)
    fresh = tmp_path / "venv" / "bin"
    alone = ["unshare", "--user", "--map-root-user", "--net"]  # a network with nothing in it, not even a loopback
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        alone = []
    offline = ["--no-index", "--find-links", str(tmp_path / "site" / "wheels"), "glioserve[tls]"]
    subprocess.run([*alone, str(fresh / "pip"), "install", "--quiet", *offline], check=True, timeout=600)
    verified = [
        *alone,
        str(fresh / "glioserve"),
        "bundle",
        "verify",
        str(tmp_path / "b.tar"),
        "--key",
        str(keys.public),
    ]
    said = subprocess.run(verified, check=True, timeout=60, capture_output=True, text=True).stdout
    assert said.startswith("right: glioserve 0.1.0, ")
