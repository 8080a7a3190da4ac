"""Drift offline: a network's reference from its cohort, and the page that draws a site's studies beside it."""
