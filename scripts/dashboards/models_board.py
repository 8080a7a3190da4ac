"""The board of the classifier: versions, answers, scores."""

from __future__ import annotations

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
