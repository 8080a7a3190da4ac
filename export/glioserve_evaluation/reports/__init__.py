"""An evaluation's report as JSON, HTML and CSV."""
