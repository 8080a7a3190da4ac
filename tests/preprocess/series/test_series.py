"""Choice of the series for each sequence: by evidence and stated criteria, by the caller's word, never by force."""

import json

import numpy as np
import pytest

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_preprocess.files import save_recipe
from glioserve_preprocess.overrides import Overrides, SeriesName
from glioserve_preprocess.series.enhancement import Enhancement
from glioserve_preprocess.series.selection import choose_series
from support.studies.scans import FLAIR_HEADER, T1_HEADER, T1CE_HEADER, T2_HEADER, instances_of, part10, series

T1, T1CE, T2, FLAIR = Modality
HEADERS = {T1: T1_HEADER, T1CE: T1CE_HEADER, T2: T2_HEADER, FLAIR: FLAIR_HEADER}
NATIVE_HEADER = {**T1_HEADER, "ContrastBolusAgent": "NO"}
AXIAL = np.diag([1.0, 1.0, 1.0])
SAGITTAL = np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])
TOKENS = iter(range(1000))


def scan(header=T1_HEADER, *, slices=40, apart_mm=4.0, axes=AXIAL, **attributes):
    """Datasets of one series; ``attributes`` over ``header``. Pixels of no meaning."""
    affine = np.eye(4)
    affine[:3, :3] = axes * (1.0, 1.0, apart_mm)
    stored = np.full((slices, 4, 4), next(TOKENS))
    return series(stored, Geometry((4, 4, slices), affine), **{**header, **attributes})


def study(**slices):
    return [d for name, count in slices.items() for d in scan(HEADERS[Modality(name)], slices=count)]


def choose(datasets, channels, min_slices=5, **options):
    return choose_series(instances_of(datasets), channels, min_slices, **options)


def refused(code, datasets, channels, min_slices=5, **options):
    with pytest.raises(GlioserveError) as caught:
        choose(datasets, channels, min_slices, **options)
    assert caught.value.code is code
    return str(caught.value)


def uid(datasets):
    return datasets[0].SeriesInstanceUID


def chosen_uid(datasets, modality=T1, channels=(T1,), **options):
    return choose(datasets, channels, **options).chosen[modality].series_instance_uid


def test_each_sequence_gets_its_series():
    choice = choose(study(t1=5, t1ce=6, t2=7, flair=8), (T1, T1CE, T2))
    assert {m: c.slices for m, c in choice.chosen.items()} == {T1: 5, T1CE: 6, T2: 7}
    assert list(choice.warnings) == ["The flair series of 8 slices is not in the recipe; left out."]
    assert choice.runners_up == {T1: (), T1CE: (), T2: ()}


@pytest.mark.parametrize("missing", ["t1ce", "t2"])
def test_a_missing_sequence_is_named_with_what_was_found(missing):
    present = {m: 6 for m in ("t1", "t1ce", "t2") if m != missing}
    message = refused(ErrorCode.MISSING_SEQUENCE, study(**present), (T1, T1CE, T2))
    assert f"No {missing} series among 2" in message
    assert "6 slices, t1 0." in message
    assert f'series={{"{missing}": its SeriesInstanceUID}}' in message


def test_no_patient_data_is_in_a_message():
    named = scan({**T1_HEADER, "SeriesDescription": "Zyxquist T1 AX", "PatientID": "PSN-0123456789abcdef"})
    assert "yxquist" not in refused(ErrorCode.MISSING_SEQUENCE, named, (T2,))


def test_too_few_slices():
    message = refused(ErrorCode.TOO_FEW_SLICES, study(t1=26, t1ce=26, t2=26), (T1, T1CE, T2), 32)
    assert "26 slices; the recipe needs 32" in message


def test_a_short_sequence_outside_the_recipe_does_no_harm():
    choice = choose(study(t1=6, flair=2), (T1,))
    assert set(choice.chosen) == {T1}
    assert len(choice.warnings) == 1


def test_many_candidates_are_not_all_listed():
    message = refused(ErrorCode.MISSING_SEQUENCE, [d for _ in range(15) for d in scan(slices=6)], (T2,))
    assert message.count("6 slices") == 12
    assert "and 3 more" in message


# --- criteria among several that fit ----------------------------------------------------------------------------------


def native(**attributes):
    return scan(NATIVE_HEADER, **attributes)


ENHANCED = scan(T1CE_HEADER, AcquisitionTime="002000")
BETTER_AND_WORSE = {
    "evidence": (
        native(),
        scan({"SeriesDescription": "T1 AX", "ContrastBolusAgent": "NO"}, slices=60),
        "its headers fit less well",
    ),
    "original": (native(), native(ImageType=["DERIVED", "SECONDARY"]), "it is derived"),
    "coverage": (native(), native(slices=60, apart_mm=1.0), "it covers 59 mm against 156 mm"),
    "fat": (native(), native(ScanOptions="FS", slices=80, apart_mm=2.0), "its fat is suppressed"),
    "thin slices": (native(slices=160, apart_mm=1.0), native(), "its slices are 4.0 mm apart, not 1.0 mm"),
    "slices": (native(slices=42), native(), "it has 40 slices, not 42"),
    "plane": (native(), native(axes=SAGITTAL), "it is not axial"),
    "repeat": (
        native(AcquisitionTime="001000"),
        native(AcquisitionTime="000200"),
        "the same protocol was run again later",
    ),
    "silent repeat": (
        scan(AcquisitionTime="000200") + ENHANCED,
        scan(AcquisitionTime="001000"),
        "the same protocol was run before, and nothing shows that no agent was given in between",
    ),
}


@pytest.mark.parametrize(("better", "worse", "why"), BETTER_AND_WORSE.values(), ids=BETTER_AND_WORSE)
@pytest.mark.parametrize("turned", [False, True])
def test_a_criterion_prefers(better, worse, why, turned):
    choice = choose(worse + better if turned else better + worse, (T1,))
    assert choice.chosen[T1].series_instance_uid == uid(better)
    (other,) = choice.runners_up[T1]
    assert other.series_instance_uid == uid(worse)
    assert why in other.why_not
    assert 0.5 <= other.score <= choice.chosen[T1].score(T1)


def test_a_silent_repeat_of_another_sequence_is_taken():
    first, again = (scan(T2_HEADER, AcquisitionTime=clock) for clock in ("000200", "001000"))
    assert chosen_uid(first + again, T2, (T2,)) == uid(again)


def test_a_later_series_of_another_protocol_is_no_repeat():
    both = native(AcquisitionTime="001000", FlipAngle=70) + native(AcquisitionTime="000200", FlipAngle=90)
    refused(ErrorCode.AMBIGUOUS_SEQUENCE, both, (T1,))


def test_where_all_else_is_alike_the_stronger_evidence_is_taken():
    given = scan(T1CE_HEADER, AcquisitionTime="002000")
    silent = scan(T1CE_HEADER, AcquisitionTime="002900", ContrastBolusAgent="", SeriesDescription="T1 AX", FlipAngle=80)
    silent_first = choose(silent + given, (T1CE,))
    assert silent_first.chosen[T1CE].series_instance_uid == uid(given) == chosen_uid(given + silent, T1CE, (T1CE,))
    assert "its headers fit less well" in silent_first.runners_up[T1CE][0].why_not


def test_a_short_candidate_never_wins_and_is_told_of():
    choice = choose(native(slices=3, apart_mm=60.0) + native(), (T1,))
    assert choice.chosen[T1].slices == 40
    assert choice.runners_up[T1][0].why_not == "it has 3 slices; the recipe needs 5"


def test_of_two_equal_ones_that_which_can_be_read_is_taken():
    broken = native()
    del broken[20]
    whole = native(slices=30)
    choice = choose(broken + whole, (T1,))
    assert choice.chosen[T1].series_instance_uid == uid(whole)
    assert choice.runners_up[T1][0].why_not == "it cannot be read as a volume (GLIO-1401)"


def test_a_tie_lists_the_candidates():
    both = native(SeriesNumber="4") + native(SeriesNumber="7")
    message = refused(ErrorCode.AMBIGUOUS_SEQUENCE, both, (T1,))
    assert "2 series fit t1 equally" in message
    assert "series 4 (40 slices, t1 0." in message
    assert "series 7 (40 slices, t1 0." in message
    assert 'series={"t1": its SeriesInstanceUID}' in message


def test_the_order_of_the_files_changes_nothing():
    pairs = [BETTER_AND_WORSE[name] for name in ("thin slices", "coverage", "plane", "fat")]
    datasets = [d for pair in pairs for part in pair[:2] for d in part]
    first = choose(datasets, (T1,))
    again = choose(datasets[::-1], (T1,))
    assert first.chosen[T1].series_instance_uid == again.chosen[T1].series_instance_uid
    assert first.runners_up == again.runners_up


# --- T1 or T1ce -------------------------------------------------------------------------------------------------------


def test_a_silent_t1_before_the_contrast_series_is_native():
    choice = choose(scan(AcquisitionTime="000100") + scan(T1CE_HEADER, AcquisitionTime="002000"), (T1, T1CE))
    assert choice.chosen[T1].score(T1) > 0.9
    assert "acquired before the series with contrast agent" in choice.chosen[T1].evidence.reasons


def test_a_silent_t1_after_the_contrast_series_is_not_native():
    late = scan(AcquisitionTime="003000") + scan(T1CE_HEADER, AcquisitionTime="002000")
    message = refused(ErrorCode.MISSING_SEQUENCE, late, (T1,))
    assert "so hardly native" in message


def test_days_count_in_the_order():
    before = scan(AcquisitionDate="20240229", AcquisitionTime="235900")
    after = scan(T1CE_HEADER, AcquisitionDate="20240301", AcquisitionTime="000500")
    assert chosen_uid(before + after, T1, (T1, T1CE)) == uid(before)


def test_an_agent_that_the_scanner_wrote_into_every_series_does_not_hide_the_native_one():
    native = scan({**T1_HEADER, "ContrastBolusAgent": "YES"}, AcquisitionTime="000100", SeriesDescription="T1 AX PRE")
    enhanced = scan(T1CE_HEADER, AcquisitionTime="002000")
    choice = choose(native + enhanced, (T1, T1CE))
    assert choice.chosen[T1].series_instance_uid == uid(native)
    assert choice.chosen[T1CE].series_instance_uid == uid(enhanced)


class Eyes:
    """A stand-in for the comparison of images: the series that are enhanced, and what was asked."""

    def __init__(self, *enhanced):
        self.enhanced = {uid(e) for e in enhanced}
        self.asked = []

    def __call__(self, first, second):
        self.asked.append((first.series_instance_uid, second.series_instance_uid))
        one, other = (s.series_instance_uid in self.enhanced for s in (first, second))
        if one == other:
            return Enhancement(None, 0.0, 0.0, 0.0)
        return Enhancement(one, 0.9, 0.01 * one, 0.01 * other)


@pytest.mark.parametrize("enhanced_first", [True, False])
def test_images_tell_what_headers_do_not(enhanced_first):
    one, other = (scan(SeriesNumber=n, AcquisitionTime=t) for n, t in (("4", "100000"), ("7", "103000")))
    enhanced, native = (one, other) if enhanced_first else (other, one)
    eyes = Eyes(enhanced)
    choice = choose(one + other, (T1, T1CE), compare=eyes)
    assert choice.chosen[T1CE].series_instance_uid == uid(enhanced)
    assert choice.chosen[T1].series_instance_uid == uid(native)
    assert len(eyes.asked) == 1
    assert any("its images are enhanced beside series" in r for r in choice.chosen[T1CE].evidence.reasons)


def test_images_tell_among_three():
    before = scan(FlipAngle=90, AcquisitionTime="100000")
    thick = scan(slices=39, FlipAngle=80, AcquisitionTime="103000")
    thin = scan(FlipAngle=80, slices=50, apart_mm=3.0, AcquisitionTime="104000")
    eyes = Eyes(thick, thin)
    choice = choose(before + thick + thin, (T1, T1CE), compare=eyes)
    assert choice.chosen[T1CE].series_instance_uid == uid(thin)
    assert [r.series_instance_uid for r in choice.runners_up[T1CE]] == [uid(thick)]
    assert choice.chosen[T1].series_instance_uid == uid(before)
    assert len(eyes.asked) == 3


def test_images_are_not_looked_at_when_headers_and_times_tell():
    eyes = Eyes()
    timed = scan(slices=6, AcquisitionTime="000100") + scan(T1CE_HEADER, slices=6, AcquisitionTime="002000")
    choose(timed + scan(T2_HEADER), (T1, T1CE, T2), compare=eyes)
    choose(scan() + scan(T2_HEADER), (T1, T2), compare=eyes)
    assert eyes.asked == []


@pytest.mark.parametrize("compare", [None, Eyes(scan()), lambda a, b: None])
def test_where_images_do_not_tell_either_it_is_an_error_that_lists_them(compare):
    both = scan(SeriesNumber="4") + scan(SeriesNumber="7", FlipAngle=70)
    message = refused(ErrorCode.AMBIGUOUS_SEQUENCE, both, (T1CE,), compare=compare)
    assert "Neither headers nor images tell which of 2 T1-weighted series is t1ce" in message
    assert "series 4 (" in message
    assert "series 7 (" in message


def test_a_single_silent_t1_is_never_taken_for_the_enhanced_one():
    assert "No t1ce series" in refused(ErrorCode.MISSING_SEQUENCE, scan(), (T1CE,), compare=Eyes())


# --- the caller's word ------------------------------------------------------------------------------------------------


def test_a_named_series_is_taken_whatever_its_headers_say():
    strange = scan({"SeriesDescription": "zzz"})
    choice = choose(strange + scan(T1CE_HEADER), (T1, T1CE), named={T1: SeriesName(uid(strange))})
    assert choice.chosen[T1].series_instance_uid == uid(strange)
    assert choice.chosen[T1].evidence.reasons[0] == "named by the caller"
    assert choice.named == {T1}
    assert "its headers say otherwise" in choice.warnings[0]


def test_naming_one_of_two_equal_ones_settles_it():
    one, other = scan(), scan()
    choice = choose(one + other, (T1,), named={T1: SeriesName(uid(other))})
    assert choice.chosen[T1].series_instance_uid == uid(other)
    assert choice.warnings == ()


def test_naming_the_native_one_makes_the_other_the_enhanced_one():
    one, other = scan(), scan()
    choice = choose(one + other, (T1, T1CE), named={T1: SeriesName(uid(other))})
    assert choice.chosen[T1CE].series_instance_uid == uid(one)


def test_a_series_that_is_not_there_cannot_be_named():
    message = refused(ErrorCode.UNKNOWN_SERIES, study(t1=6, t2=6), (T1,), named={T1: SeriesName("1.2.3")})
    assert "not among the 2 series" in message


def test_a_named_series_needs_enough_slices_too():
    short = scan(slices=3)
    message = refused(ErrorCode.TOO_FEW_SLICES, short + scan(), (T1,), named={T1: SeriesName(uid(short))})
    assert "named for t1 has 3 slices" in message


def test_one_series_cannot_be_two_sequences():
    one = scan()
    named = {T1: SeriesName(uid(one)), T1CE: SeriesName(uid(one))}
    refused(ErrorCode.INVALID_OVERRIDE, one, (T1, T1CE), named=named)


def test_a_part_of_a_series_can_be_named():
    first = scan(TemporalPositionIdentifier=1)
    second = scan(TemporalPositionIdentifier=2)
    for dataset in second:
        dataset.SeriesInstanceUID = uid(first)
    both = first + second
    message = refused(ErrorCode.INVALID_OVERRIDE, both, (T1,), named={T1: SeriesName(uid(first))})
    assert "#phase 1, #phase 2" in message
    choice = choose(both, (T1,), named={T1: SeriesName(uid(first), "phase 2")})
    assert choice.chosen[T1].stack.part == "phase 2"
    refused(ErrorCode.UNKNOWN_SERIES, both, (T1,), named={T1: SeriesName(uid(first), "phase 3")})


def test_naming_a_sequence_outside_the_recipe_changes_nothing():
    assert set(choose(study(t1=6), (T1,), named={T2: SeriesName("1.2.3")}).chosen) == {T1}


# --- the caller's word as it travels ----------------------------------------------------------------------------------


def test_request_parameters_are_parsed():
    parameters = json.dumps(
        {"series": json.dumps({"t1": "1.2.3", "t1ce": "1.2.4#echo 2"}), "modalities": '{"T1": "t1ce", "T1CE": "t1"}'}
    )
    overrides = Overrides.of_parameters(parameters)
    assert overrides.series == {T1: SeriesName("1.2.3"), T1CE: SeriesName("1.2.4", "echo 2")}
    assert overrides.modalities == {T1: T1CE, T1CE: T1}


@pytest.mark.parametrize("parameters", [None, "", "{}", '{"heatmap": false}', '{"series": "{}"}'])
def test_without_parameters_nothing_is_overridden(parameters):
    assert Overrides.of_parameters(parameters) == Overrides()


@pytest.mark.parametrize(
    "parameters",
    [
        {"series": "t1=1.2.3"},
        {"series": '["1.2.3"]'},
        {"series": '{"t3": "1.2.3"}'},
        {"series": '{"t1": 12}'},
        {"series": '{"t1": "Zyxquist"}'},
        {"series": ""},
        {"series": '{"t1": "1.2.3", "t1": "1.2.4"}'},
        {"series": '{"t1": null}'},
        {"modalities": '{"T9": "t1"}'},
        {"modalities": '{"T1": "pd"}'},
        {"series": "[" * 5000},
    ],
)
def test_malformed_parameters_are_refused_by_code(parameters):
    with pytest.raises(GlioserveError) as caught:
        Overrides.of_parameters(json.dumps(parameters))
    assert caught.value.code is ErrorCode.INVALID_OVERRIDE
    assert "yxquist" not in str(caught.value)


def test_a_choice_for_the_other_kind_of_input_is_refused():
    series, modalities = Overrides(series={T1: SeriesName("1.2.3")}), Overrides(modalities={T1: T1CE})
    assert series.for_files() == series.series
    for wrong in (modalities.for_files, lambda: series.renamed({T1: volume(T1)})):
        with pytest.raises(GlioserveError) as caught:
            wrong()
        assert caught.value.code is ErrorCode.INVALID_OVERRIDE


def volume(modality):
    return SequenceVolume(modality, np.zeros((2, 2, 2), np.float32), Geometry((2, 2, 2), np.eye(4)))


def test_volumes_are_renamed():
    sent = {T1: volume(T1), T1CE: volume(T1CE), T2: volume(T2)}
    renamed = Overrides(modalities={T1: T1CE, T1CE: T1}).renamed(sent)
    assert {m: v.modality for m, v in renamed.items()} == {T1: T1, T1CE: T1CE, T2: T2}
    assert renamed[T1].voxels is sent[T1CE].voxels


@pytest.mark.parametrize("modalities", [{T1: T1CE}, {FLAIR: T1}])
def test_volumes_cannot_be_renamed_onto_another_or_out_of_nothing(modalities):
    with pytest.raises(GlioserveError) as caught:
        Overrides(modalities=modalities).renamed({T1: volume(T1), T1CE: volume(T1CE)})
    assert caught.value.code is ErrorCode.INVALID_OVERRIDE


# --- the offline command ----------------------------------------------------------------------------------------------


@pytest.fixture
def offline(tmp_path, recipe):
    folder = tmp_path / "study"
    folder.mkdir()
    for number, dataset in enumerate(study(t1=40, t1ce=40, t2=40)):
        (folder / str(number)).write_bytes(part10(dataset))
    save_recipe(recipe, tmp_path / "recipe.json")
    return ["preprocess", str(folder), "--recipe", str(tmp_path / "recipe.json"), "--out", str(tmp_path / "out")]


def test_a_series_named_on_the_command_line_has_to_be_there(offline, capsys):
    assert main([*offline, "--series", "t1=1.2.3"]) == 1
    assert "GLIO-1304" in capsys.readouterr().err


@pytest.mark.parametrize("named", ["t1", "pd=1.2.3", "t1=", "t1=not-a-uid"])
def test_a_series_named_wrongly_on_the_command_line_is_wrong_usage(offline, named):
    with pytest.raises(SystemExit) as caught:
        main([*offline, "--series", named])
    assert caught.value.code == 2
