"""Metrics of drift: the studies of operation against those that the network was trained on."""

from __future__ import annotations

from glioserve_contract.metrics.base import VERSION, Kind, Label, Metric
from glioserve_contract.records.studies.drift import DRIFT_FEATURES

DRIFT_WINDOWS = (50, 200)
"""Lengths of the sliding windows, in studies: the short one for sudden changes, the long one for smaller ones."""
_SITE = Label("site", origin="label of the caller; unnamed where there is none, other beyond 16 sites")
_FEATURE = Label("feature", DRIFT_FEATURES)
_WINDOW = Label("window", tuple(map(str, DRIFT_WINDOWS)))

PSI = Metric(
    "glioserve_drift_psi_ratio",
    Kind.GAUGE,
    "Population stability index of a feature over the last studies of a site; absent below 20 studies",
    (VERSION, _SITE, _FEATURE, _WINDOW),
)
KS = Metric(
    "glioserve_drift_ks_ratio",
    Kind.GAUGE,
    "Distance of Kolmogorov and Smirnov of a feature over the last studies of a site; absent below 20 studies",
    (VERSION, _SITE, _FEATURE, _WINDOW),
)
FLAGGED = Metric(
    "glioserve_drift_flagged",
    Kind.GAUGE,
    "1 where a feature of a site's studies differs from the version's training by more than chance",
    (VERSION, _SITE, _FEATURE),
)
STUDIES_SEEN = Metric(
    "glioserve_drift_studies", Kind.GAUGE, "Studies of a site in the longest window", (VERSION, _SITE)
)
DRIFT_METRICS = (PSI, KS, FLAGGED, STUDIES_SEEN)
"""All of them; a version without a reference has none."""
