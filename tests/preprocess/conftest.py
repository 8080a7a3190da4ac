"""One phantom patient for the tests that need a whole head."""

import pytest

from glioserve_contract import Modality
from glioserve_contract.records.recipe import RECIPE_SCHEMA, Architecture, Grid, Recipe
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files


@pytest.fixture(scope="session")
def phantom():
    return make_phantom(11, "recurrence")


@pytest.fixture(scope="session")
def phantom_files(phantom):
    """The study as a client sends it: pseudonyms only, with a localiser and a reformat."""
    return dicom_files(phantom, identified=False)


@pytest.fixture(scope="session")
def phantom_volumes(phantom):
    return {m: phantom.volume(m) for m in (Modality.T1, Modality.T1CE, Modality.T2)}


@pytest.fixture(scope="session")
def recipe():
    return Recipe(
        schema=RECIPE_SCHEMA,
        name="test",
        architecture=Architecture("resnet10"),
        channels=(Modality.T1, Modality.T1CE, Modality.T2),
        classes=("necrosis", "recurrence"),
        grid=Grid((48, 48, 48), (4.0, 4.0, 4.0)),
    )
