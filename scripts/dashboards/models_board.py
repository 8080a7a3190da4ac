"""The board of the classifier: versions, answers, scores."""

from __future__ import annotations

from glioserve_watch.outcomes.standing import WORSE_AT
from panels import POD, Board, Panel, grown, mean_by, share, total

_VERSION = 'version=~"$version"'
_CLASSIFIER = 'model="classifier"'
MODELS = Board(
    "models",
    "glioserve: models",
    (
        (
            "Versions",
            (
                Panel(
                    "Versions in the repositories",
                    "short",
                    (
                        (
                            f"count by (version, digest, preprocessing, architecture, serving) "
                            f"(glioserve_model_info{{{POD},{_VERSION}}})",
                            "{{version}} {{architecture}} {{digest}} serving: {{serving}}",
                        ),
                    ),
                    "Pods that have each version.",
                ),
                Panel(
                    "Answers by version",
                    "short",
                    grown("glioserve_answers_total", "version, answer", _VERSION, "1h"),
                    "Within an hour.",
                ),
            ),
        ),
        (
            "Scores",
            (
                Panel(
                    "Mean score",
                    "none",
                    mean_by("version", "glioserve_score_ratio", _VERSION, "6h"),
                    "Probability of recurrence, mean of six hours.",
                ),
                Panel(
                    "Quartiles of the score",
                    "none",
                    tuple(
                        (
                            f"histogram_quantile({q}, sum by (version, le) "
                            f"(increase(glioserve_score_ratio_bucket{{{POD},{_VERSION}}}[1d])))",
                            f"{{{{version}}}} p{q * 100:g}",
                        )
                        for q in (0.25, 0.5, 0.75)
                    ),
                    "Of a day, by version.",
                ),
                Panel(
                    "Share of recurrence",
                    "percentunit",
                    (
                        (
                            share(
                                total("glioserve_answers_total", f'{_VERSION},answer="recurrence"', "1d", "version"),
                                total("glioserve_answers_total", f'{_VERSION},answer!="abstained"', "1d", "version"),
                            ),
                            "{{version}}",
                        ),
                    ),
                    "Of the answers with a label, within a day.",
                ),
                Panel(
                    "Share that abstains",
                    "percentunit",
                    (
                        (
                            share(
                                total("glioserve_answers_total", f'{_VERSION},answer="abstained"', "1d", "version"),
                                total("glioserve_answers_total", _VERSION, "1d", "version"),
                            ),
                            "{{version}}",
                        ),
                    ),
                    "Of all answers, within a day.",
                ),
            ),
        ),
        (
            "Outcomes",
            (
                Panel(
                    "Sensitivity and specificity",
                    "percentunit",
                    (
                        (
                            f"max by (version, rate, of) (glioserve_outcome_rate_ratio{{{POD},{_VERSION}}})",
                            "{{version}} {{rate}} {{of}}",
                        ),
                    ),
                    "By the outcomes that were added, with the interval that holds at every look, and as evaluated.",
                ),
                Panel(
                    "Evidence that a rate has fallen",
                    "none",
                    (
                        (
                            f"max by (version, rate) (glioserve_outcome_evidence_ratio{{{POD},{_VERSION}}})",
                            "{{version}} {{rate}}",
                        ),
                    ),
                    "Below what the evaluation said; from 40 on the rate counts as worse.",
                    red_from=WORSE_AT,
                ),
                Panel(
                    "Rates that have become worse",
                    "short",
                    (
                        (
                            f"max by (version, rate) (glioserve_outcome_worse{{{POD},{_VERSION}}})",
                            "{{version}} {{rate}}",
                        ),
                    ),
                    "1 from the study on after which a rate counts as worse.",
                    red_from=1.0,
                ),
                Panel(
                    "Outcomes",
                    "short",
                    (
                        (
                            f"max by (version, truth, answer) (glioserve_outcome_studies{{{POD},{_VERSION}}})",
                            "{{version}} {{truth}}, answered {{answer}}",
                        ),
                    ),
                    "Studies whose truth has been added.",
                ),
            ),
        ),
        (
            "Candidate",
            (
                Panel(
                    "Live studies of the candidate",
                    "short",
                    grown("glioserve_shadow_studies_total", "version, result", _VERSION, "1d"),
                    "Within a day, by result; a flip is another label than the caller got.",
                ),
                Panel(
                    "Flips by manufacturer",
                    "percentunit",
                    (
                        (
                            share(
                                total(
                                    "glioserve_shadow_studies_total",
                                    f'{_VERSION},result="flip"',
                                    "7d",
                                    "version, manufacturer",
                                ),
                                total(
                                    "glioserve_shadow_studies_total",
                                    f'{_VERSION},result=~"flip|same"',
                                    "7d",
                                    "version, manufacturer",
                                ),
                            ),
                            "{{version}} {{manufacturer}}",
                        ),
                    ),
                    "Share of the studies with a label from both, within a week.",
                ),
                Panel(
                    "Distance of the scores",
                    "none",
                    mean_by("version", "glioserve_shadow_difference_ratio", _VERSION, "1d"),
                    "Mean of a day between the candidate's score and the served one.",
                ),
                Panel(
                    "Mean score of the candidate",
                    "none",
                    mean_by("version", "glioserve_shadow_score_ratio", _VERSION, "1d"),
                    "Probability of recurrence, mean of a day.",
                ),
            ),
        ),
        (
            "Drift",
            (
                Panel(
                    "Features that differ from the training",
                    "short",
                    (
                        (
                            f"sum by (version, site) (max by (version, site, feature) "
                            f"(glioserve_drift_flagged{{{POD},{_VERSION}}}))",
                            "{{version}} {{site}}",
                        ),
                    ),
                    "By version and site; GlioserveDrift fires from one on.",
                    red_from=1,
                ),
                Panel(
                    "Distance of Kolmogorov and Smirnov",
                    "percentunit",
                    (
                        (
                            f"topk(10, max by (version, site, feature) "
                            f'(glioserve_drift_ks_ratio{{{POD},{_VERSION},window="50"}}))',
                            "{{version}} {{site}} {{feature}}",
                        ),
                    ),
                    "The ten largest, over the last 50 studies of a site.",
                ),
                Panel(
                    "Population stability index",
                    "short",
                    (
                        (
                            f"topk(10, max by (version, site, feature) "
                            f'(glioserve_drift_psi_ratio{{{POD},{_VERSION},window="200"}}))',
                            "{{version}} {{site}} {{feature}}",
                        ),
                    ),
                    "The ten largest, over a site's last 200 studies; of few studies chance alone gives tenths.",
                ),
                Panel(
                    "Studies that are compared",
                    "short",
                    (
                        (
                            f"sum by (version, site) (glioserve_drift_studies{{{POD},{_VERSION}}})",
                            "{{version}} {{site}}",
                        ),
                    ),
                    "In the longest window; below 20 nothing is said.",
                ),
            ),
        ),
        (
            "Classifier",
            (
                Panel(
                    "Time of an inference",
                    "s",
                    (
                        (
                            share(
                                total("nv_inference_compute_infer_duration_us", _CLASSIFIER, by="version"),
                                total("nv_inference_count", _CLASSIFIER, by="version"),
                            )
                            + " / 1e6",
                            "{{version}}",
                        ),
                    ),
                    "Mean of an hour; canaries are among them.",
                ),
                Panel(
                    "Studies in a batch",
                    "short",
                    (
                        (
                            f'sum(increase(nv_inference_count{{{POD},model="classifier"}}[1h])) / '
                            f'(sum(increase(nv_inference_exec_count{{{POD},model="classifier"}}[1h])) > 0)',
                            "",
                        ),
                    ),
                    "Mean of an hour.",
                ),
            ),
        ),
    ),
    by_version=True,
)
