"""The table of sequences is whole, and what others derive from it agrees with it."""

from glioserve_contract import REGISTRATION_ORDER, Modality
from glioserve_contract.sequences import OTHER_IMAGE_TYPES, OTHER_IMAGE_WORDS, SEQUENCES, WEIGHTINGS, Weighting
from glioserve_contract.tensors import PREPROCESS_MODEL, affine_tensor, volume_tensor
from glioserve_dicom.identity import CODES
from glioserve_dicom.words import DESCRIPTION_WORDS, kept_words


def test_every_sequence_has_a_row_in_the_order_of_the_enum():
    assert list(SEQUENCES) == list(Modality)
    assert list(WEIGHTINGS) == [w for w in Weighting if w is not Weighting.OTHER]
    assert {entry.weighting for entry in SEQUENCES.values()} == set(WEIGHTINGS)


def test_the_registration_order_is_the_publisheds():
    assert REGISTRATION_ORDER == (Modality.T1CE, Modality.T1, Modality.T2, Modality.FLAIR)
    assert sorted(entry.reference_rank for entry in SEQUENCES.values()) == list(range(len(SEQUENCES)))


def test_each_sequence_has_two_tensors_of_its_own():
    names = [tensor.name for tensor in PREPROCESS_MODEL.inputs]
    assert names == ["INSTANCES", *(name for m in SEQUENCES for name in (volume_tensor(m), affine_tensor(m)))]
    assert len(set(names)) == len(names)


def test_no_mark_stands_for_two_things():
    words = [entry.words | entry.hints for entry in WEIGHTINGS.values()]
    words += OTHER_IMAGE_WORDS.values()
    types = [frozenset(entry.image_types) for entry in WEIGHTINGS.values()]
    types += OTHER_IMAGE_TYPES.values()
    for group in (words, types):
        assert sum(map(len, group)) == len(frozenset().union(*group))
    channels = [name for entry in SEQUENCES.values() for name in entry.channel_names]
    assert len(set(channels)) == len(channels)


def test_every_mark_reaches_the_server():
    for entry in WEIGHTINGS.values():
        assert entry.words | entry.hints <= DESCRIPTION_WORDS
        assert {*entry.image_types} <= CODES["ImageType"]
        assert {*entry.scan_options} <= CODES["ScanOptions"]
        for mark, replacement in {**entry.spellings, **entry.terms}.items():
            assert kept_words(mark) == replacement
