"""Shadow: what a candidate would have answered to live studies, recorded and never returned."""
