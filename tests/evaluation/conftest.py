"""A cohort of phantoms on the disk, with a study that is broken; one network as artifact and as exported version."""

from __future__ import annotations

import contextlib
import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from glioserve_cli.main import main
from glioserve_export.exporter import export_model
from glioserve_networks import load_artifact
from glioserve_phantom.dicom import dicom_files, write_study
from glioserve_registry.demo_model import demo_model_dir
from support.models.recipes import tiny_recipe
from support.models.reference_cases import artifact_with_case
from support.studies.phantoms import small_phantom

PATIENT = "DOE^JOHN"
"""Name in the folders' names, as in many an archive; the phantoms' own headers carry another."""


@dataclass(frozen=True)
class PhantomCohort:
    """Case ``a``: a necrosis in a folder; ``b``: a recurrence in a zip archive; ``c``: a few slices of a necrosis."""

    table: Path
    folder_study: Path
    zip_study: Path


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> PhantomCohort:
    """Identified DICOM, as scanners write it."""
    folder = tmp_path_factory.mktemp("cohort")
    write_study(small_phantom(31, "necrosis"), folder / f"{PATIENT} 1")
    with zipfile.ZipFile(folder / f"{PATIENT} 2.zip", "w") as archive:
        for number, content in enumerate(dicom_files(small_phantom(32, "recurrence"))):
            archive.writestr(f"{number}.dcm", content)
    (folder / f"{PATIENT} 3").mkdir()
    for file in sorted((folder / f"{PATIENT} 1").iterdir())[:60]:
        (folder / f"{PATIENT} 3" / file.name).write_bytes(file.read_bytes())
    table = folder / "cohort.csv"
    table.write_text(
        f"case,study,label,group\na,{PATIENT} 1,necrosis,site A\nb,{PATIENT} 2.zip,recurrence,site A\n"
        f"c,{PATIENT} 3,necrosis,site B\n",
        encoding="utf-8",
    )
    return PhantomCohort(table, folder / f"{PATIENT} 1", folder / f"{PATIENT} 2.zip")


@dataclass(frozen=True)
class OneNetwork:
    """The same weights and recipe, trained and exported."""

    artifact: Path
    version: Path


@pytest.fixture(scope="session")
def one_network(tmp_path_factory: pytest.TempPathFactory) -> OneNetwork:
    """Small and random, with an answer that depends on the study."""
    folder = tmp_path_factory.mktemp("network")
    artifact_with_case(folder / "artifact", tiny_recipe(size_voxels=(24, 24, 24)))
    export_model(load_artifact(folder / "artifact"), folder / "version", progress=lambda _: None)
    return OneNetwork(folder / "artifact", folder / "version")


@dataclass(frozen=True)
class Evaluated:
    """One call of the command: where it wrote, how it ended, what it told."""

    out: Path
    code: int
    told: str
    """Text on standard output."""
    aside: str
    """Text on standard error."""

    @property
    def cases(self) -> dict[str, dict[str, str]]:
        """Rows of cases.csv by case."""
        with (self.out / "cases.csv").open(newline="", encoding="utf-8") as file:
            return {row["case"]: row for row in csv.DictReader(file)}


def evaluate(out: Path, cohort: Path, *arguments: object) -> Evaluated:
    """``glioserve evaluate``."""
    told, aside = io.StringIO(), io.StringIO()
    command = ["evaluate", *map(str, arguments), "--cohort", str(cohort), "--out", str(out)]
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(aside):
        code = main(command)
    return Evaluated(out, code, told.getvalue(), aside.getvalue())


@pytest.fixture(scope="session")
def offline_run(phantoms: PhantomCohort, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The demo model on the phantoms. Its folder is read by many tests: copy it before anything is changed."""
    return evaluate(tmp_path_factory.mktemp("offline") / "out", phantoms.table, demo_model_dir())
