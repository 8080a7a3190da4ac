"""A record is enough to compute the network's input again, to the bit; and what is not the same is noticed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError, Modality, from_dict, to_dict
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_contract.records.recipe import Grid, Intensity
from glioserve_dicom.volumes.geometry import apply, geometry_of_record
from glioserve_preprocess import pipeline
from glioserve_preprocess.pipeline import preprocess_dicom, preprocess_volumes
from glioserve_preprocess.tensor.provenance import image_digest, replay
from support.studies.geometries import places_lps_mm, reordered


@pytest.fixture(scope="module")
def result(phantom_volumes, recipe):
    return preprocess_volumes(phantom_volumes, recipe)


def stored_and_read(record):
    """Return the record as a file would bring it back."""
    return from_dict(PreprocessRecord, json.loads(json.dumps(to_dict(record))))


@pytest.mark.long
def test_a_study_of_dicom_files_is_replayed_to_the_bit(phantom_files, recipe):
    by_percentiles = replace(recipe, intensity=Intensity("percentile"), grid=Grid((40, 44, 36), (4.0, 4.0, 5.0)))
    done = preprocess_dicom(phantom_files, by_percentiles, accept_identified=False)
    again = replay(stored_and_read(done.record), done.volumes, done.native_mask)
    assert again.dtype == np.float32
    assert np.array_equal(again, done.image)
    assert image_digest(again) == done.record.provenance.image_sha256
    uids = [s.series_instance_uid for s in done.record.provenance.sequences]
    assert uids == [s.series_instance_uid for s in done.record.series]
    assert all(uids)


def test_volumes_are_replayed_to_the_bit_however_their_axes_are_stored(result, phantom_volumes):
    record = stored_and_read(result.record)
    assert np.array_equal(replay(record, phantom_volumes, result.native_mask), result.image)
    turned = {m: reordered(v, (2, 0, 1), (False, True, True)) for m, v in phantom_volumes.items()}
    assert np.array_equal(replay(record, turned, result.native_mask), result.image)


def test_the_record_says_how_each_channel_came_about(result, recipe):
    provenance = result.record.provenance
    assert [s.modality for s in provenance.sequences] == list(recipe.channels)
    by_modality = {s.modality: s for s in provenance.sequences}
    assert by_modality[Modality.T1CE].native_lps_from_reference_lps == to_rows(np.eye(4))
    for registration in result.record.registrations:
        step = by_modality[registration.modality]
        assert step.native_lps_from_reference_lps == registration.moving_lps_from_reference_lps
    for step in provenance.sequences:
        assert step.high > step.low
        assert step.intensity_method == "minmax"
        # In-plane the pixels are finer than 4 mm and are smoothed.
        assert max(step.smoothing_sigma_mm) == pytest.approx(np.sqrt(16 - min_spacing(step) ** 2) / 2.3548, rel=0.05)
    assert {"numpy", "python", "machine", "SimpleITK"} <= set(provenance.software)
    assert len(json.dumps(to_dict(provenance))) < 4096


def to_rows(matrix):
    return tuple(tuple(float(v) for v in row) for row in matrix)


def min_spacing(step):
    return min(geometry_of_record(step.native_grid).spacing_mm)


def test_each_sequence_is_sampled_once_from_native_voxels_to_the_network(phantom_volumes, recipe, monkeypatch):
    """One call each, on the native voxels themselves, by the composed transform; and a linear field of the sequence's
    own space, put in their place, comes out exact, which it would not after a second resampling."""
    calls, slope, offset = [], np.array([0.8, -0.5, 1.1]), 700.0
    real = pipeline.sample

    def field(voxels, source, target, matrix, where=None, outside=0.0, threads=1):
        calls.append((voxels, source, target, matrix))
        linear = (places_lps_mm(source) @ slope + offset).astype(np.float32)
        return real(linear, source, target, matrix, where, outside, threads)

    monkeypatch.setattr(pipeline, "sample", field)
    done = preprocess_volumes(phantom_volumes, recipe)
    assert len(calls) == len(recipe.channels)
    moved = {r.modality: np.array(r.moving_lps_from_reference_lps) for r in done.record.registrations}
    network = geometry_of_record(done.record.network_grid)
    brain = places_lps_mm(network)[done.brain_mask > 0]
    for number, (modality, (voxels, source, target, matrix)) in enumerate(zip(recipe.channels, calls, strict=True)):
        native = done.volumes[modality]
        assert voxels is native.voxels
        assert np.array_equal(np.sort(voxels, axis=None), np.sort(phantom_volumes[modality].voxels, axis=None))
        assert np.array_equal(source.lps_from_voxel, native.geometry.lps_from_voxel)
        assert np.array_equal(target.lps_from_voxel, network.lps_from_voxel)
        assert np.array_equal(matrix, moved.get(modality, np.eye(4)))
        step = done.record.provenance.sequences[number]
        found = done.image[number][done.brain_mask > 0] * (step.high - step.low) + step.low
        exact = np.abs(found - (apply(matrix, brain) @ slope + offset)) < 0.05
        assert exact.mean() > 0.97  # the rest lies so near the field of view's border that smoothing meets it


def code_of(record, volumes, mask):
    with pytest.raises(GlioserveError) as caught:
        replay(record, volumes, mask)
    assert caught.value.code is ErrorCode.PROVENANCE_MISMATCH
    return caught.value.detail


def test_one_changed_voxel_of_any_volume_is_noticed(result):
    for modality, volume in result.volumes.items():
        voxels = volume.voxels.copy()
        voxels[1, 2, 3] = np.nextafter(voxels[1, 2, 3], np.float32(np.inf))
        changed = {**result.volumes, modality: replace(volume, voxels=voxels)}
        assert code_of(result.record, changed, result.native_mask) == f"The {modality} volume has other voxels."


def test_a_changed_mask_grid_or_set_of_volumes_is_noticed(result):
    mask = result.native_mask.copy()
    mask[0, 0, 0] ^= 1
    assert "brain mask" in code_of(result.record, result.volumes, mask)
    t2 = result.volumes[Modality.T2]
    affine = t2.geometry.lps_from_voxel.copy()
    affine[0, 3] += 0.01
    shifted = replace(t2, geometry=replace(t2.geometry, lps_from_voxel=affine))
    assert "t2 volume lies on another grid" in code_of(
        result.record, {**result.volumes, Modality.T2: shifted}, result.native_mask
    )
    fewer = {m: v for m, v in result.volumes.items() if m is not Modality.T1}
    assert "t1 volume is missing" in code_of(result.record, fewer, result.native_mask)


def test_the_digest_of_the_input_tells_one_bit(result):
    other = result.image.copy()
    other[-1, 5, 5, 5] = np.nextafter(other[-1, 5, 5, 5], np.float32(2))
    assert image_digest(other) != result.record.provenance.image_sha256


def test_an_affine_that_a_file_rounded_is_the_same_grid(result, phantom_volumes):
    def rounded(volume):
        affine = volume.geometry.lps_from_voxel.astype(np.float32).astype(np.float64)
        return replace(volume, geometry=replace(volume.geometry, lps_from_voxel=affine))

    volumes = {m: rounded(v) for m, v in phantom_volumes.items()}
    assert np.array_equal(replay(result.record, volumes, result.native_mask), result.image)


def test_another_smoothing_is_noticed(result):
    first, *others = result.record.provenance.sequences
    other = replace(first, smoothing_sigma_mm=(0.5, 0.5, 0.5))
    provenance = replace(result.record.provenance, sequences=(other, *others))
    assert "would smooth" in code_of(replace(result.record, provenance=provenance), result.volumes, result.native_mask)


def test_a_record_of_before_there_was_provenance_still_parses(result):
    document = to_dict(result.record)
    del document["provenance"]
    old = from_dict(PreprocessRecord, document)
    assert old.provenance is None
    assert "no provenance" in code_of(old, result.volumes, result.native_mask)
