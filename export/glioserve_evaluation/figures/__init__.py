"""Figures with their intervals, from the outcomes of a cohort."""
