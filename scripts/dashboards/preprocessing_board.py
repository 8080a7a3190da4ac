"""The board of the stages before the classifier: their time, their input and what they judge."""

from __future__ import annotations

from panels import POD, SLOW_STAGE_S, Board, Panel, grown, mean_by, quantiles

PREPROCESSING = Board(
    "preprocessing",
    "glioserve: preprocessing",
    (
        (
            "Stages",
            (
                Panel(
                    "Mean time by stage",
                    "s",
                    mean_by("stage", "glioserve_stage_duration_seconds"),
                    "Of the studies of an hour.",
                ),
                Panel(
                    "95th percentile by stage",
                    "s",
                    (
                        (
                            "histogram_quantile(0.95, sum by (stage, le) "
                            f"(increase(glioserve_stage_duration_seconds_bucket{{{POD}}}[1h])))",
                            "{{stage}}",
                        ),
                    ),
                    "Of the studies of an hour.",
                    red_from=SLOW_STAGE_S,
                ),
                Panel(
                    "Longest running call",
                    "s",
                    ((f"max by (pod, model) (glioserve_stage_oldest_request_seconds{{{POD}}})", "{{pod}} {{model}}"),),
                    "Seconds since the oldest work of a stage began; red from four fifths of the default limit on.",
                    red_from=240,
                ),
                Panel(
                    "Processes at work",
                    "short",
                    ((f"sum by (model) (glioserve_stage_in_flight{{{POD}}})", "{{model}}"),),
                    "Of each Python model.",
                ),
            ),
        ),
        (
            "What is sent",
            (
                Panel(
                    "Size of a study", "bytes", quantiles("glioserve_study_size_bytes"), "Of the studies of an hour."
                ),
                Panel(
                    "Slices of a study", "short", quantiles("glioserve_study_slices"), "Of the series that were used."
                ),
                Panel(
                    "Voxels of a study", "short", quantiles("glioserve_study_voxels"), "Of the series that were used."
                ),
                Panel(
                    "Choice of series",
                    "short",
                    grown("glioserve_series_decisions_total", "modality, decision", window="1h"),
                    "Named by the caller, the only one that fitted, or preferred to others; within an hour.",
                ),
                Panel(
                    "Second opinion by voxels",
                    "short",
                    grown("glioserve_series_opinions_total", "modality, opinion", window="1h"),
                    "Within an hour.",
                ),
            ),
        ),
        (
            "Quality",
            (
                Panel(
                    "Checks that ask for a review",
                    "short",
                    grown("glioserve_quality_checks_total", "check", 'verdict="review"', "1h"),
                    "Within an hour.",
                ),
                Panel(
                    "Motion between sequences",
                    "lengthmm",
                    tuple(
                        (f"1000 * ({expr})", legend)
                        for expr, legend in mean_by("modality", "glioserve_registration_displacement_meters")
                    ),
                    "Mean distance that registration moved the brain.",
                ),
                Panel(
                    "Similarity after registration",
                    "none",
                    mean_by("modality", "glioserve_registration_similarity_nats"),
                    "Mutual information in nats, mean.",
                ),
                Panel("Brain volume", "litre", quantiles("glioserve_brain_volume_liters", "6h"), "Of six hours."),
            ),
        ),
    ),
)
