"""The board of the service: are studies answered, in time, and by what."""

from __future__ import annotations

from panels import LIMITS, POD, SLOW_ANSWER_S, WINDOW, Board, Panel, grown, quantiles, share, total

_BAD = 'outcome=~"failed|rejected|expired"'
_VALID = 'outcome=~"answered|abstained|failed|rejected|expired"'
SERVICE = Board(
    "service",
    "glioserve: service",
    (
        (
            "Now",
            (
                Panel(
                    "Pods ready",
                    "none",
                    ((f"sum(glioserve_ready{{{POD}}})", ""),),
                    "Pods whose /readyz is 200.",
                    red_below=1,
                    single=True,
                ),
                Panel(
                    "Available",
                    "percentunit",
                    (
                        (
                            "1 - "
                            + share(
                                total("glioserve_studies_total", _BAD, WINDOW),
                                total("glioserve_studies_total", _VALID, WINDOW),
                            ),
                            "",
                        ),
                    ),
                    "Share of studies that neither failed nor were turned away, over the time shown.",
                    red_below=LIMITS["availability"],
                    single=True,
                ),
                Panel(
                    "Answered in time",
                    "percentunit",
                    (
                        (
                            share(
                                total(
                                    "glioserve_study_duration_seconds_bucket",
                                    f'le=~"{SLOW_ANSWER_S:g}(\\\\.0)?"',
                                    WINDOW,
                                ),
                                total("glioserve_study_duration_seconds_count", window=WINDOW),
                            ),
                            "",
                        ),
                    ),
                    f"Share of answers within {SLOW_ANSWER_S:g} s, over the time shown.",
                    red_below=LIMITS["latencyShare"],
                    single=True,
                ),
                Panel(
                    "Certificate",
                    "d",
                    ((f"min(glioserve_certificate_expiry_timestamp_seconds{{{POD}}} - time()) / 86400", ""),),
                    "Days that are left; empty without TLS.",
                    red_below=LIMITS["certificateDays"],
                    single=True,
                ),
            ),
        ),
        (
            "Studies",
            (
                Panel(
                    "Studies by outcome",
                    "short",
                    grown("glioserve_studies_total", "outcome"),
                    "Studies that ended, by what became of them.",
                ),
                Panel(
                    "Studies that were not answered",
                    "short",
                    grown("glioserve_studies_total", "outcome, code", 'outcome!~"answered|abstained"', "1h"),
                    "Within an hour, by code; docs/errors.md says what each means.",
                ),
                Panel(
                    "Time to the answer",
                    "s",
                    quantiles("glioserve_study_duration_seconds"),
                    "From arrival to answer, of the studies of an hour.",
                    red_from=SLOW_ANSWER_S,
                ),
                Panel(
                    "Wait for the first stage",
                    "s",
                    quantiles("glioserve_queue_duration_seconds"),
                    "Of the studies of an hour.",
                ),
                Panel(
                    "Studies by caller",
                    "short",
                    grown("glioserve_caller_studies_total", "caller, outcome", window="1h"),
                    "Within an hour, of the callers that --callers names; all others are other.",
                ),
                Panel(
                    "Spans of the models",
                    "short",
                    grown("glioserve_trace_spans_total", "model, outcome", window="1h"),
                    "Within an hour; dropped where the receiver of traces is too slow or away.",
                ),
            ),
        ),
        (
            "Health",
            (
                Panel(
                    "Ready", "none", ((f"glioserve_ready{{{POD}}}", "{{pod}}"),), "1 while /readyz is 200.", red_below=1
                ),
                Panel(
                    "Repairs",
                    "short",
                    grown("glioserve_repairs_total", "model, reason", window="1h"),
                    "Processes of stages that were replaced, within an hour.",
                    red_from=4,
                ),
                Panel(
                    "Canaries",
                    "short",
                    grown("glioserve_canaries_total", "model, outcome", window="10m"),
                    "The supervisor's own requests, by outcome, within ten minutes.",
                ),
                Panel(
                    "Starts",
                    "short",
                    ((f"changes(glioserve_start_time_seconds{{{POD}}}[1h])", "{{pod}}"),),
                    "Starts of a pod's server within an hour.",
                    red_from=2,
                ),
                Panel(
                    "Versions",
                    "short",
                    (
                        (
                            f"count by (version, triton, triton_release) (glioserve_build_info{{{POD}}})",
                            "{{version}}, Triton {{triton}} ({{triton_release}})",
                        ),
                    ),
                    "Pods by the versions of what serves.",
                ),
                Panel(
                    "Below a floor",
                    "none",
                    ((f"max by (floor) (glioserve_below_floor{{{POD}}})", "{{floor}}"),),
                    "1 where the running Triton has known holes, or may stop dispatching.",
                    red_from=1,
                ),
            ),
        ),
    ),
)
