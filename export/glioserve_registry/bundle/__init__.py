"""The bundle: wheels, chart, models and image digests in one signed archive, for sites without a network."""
