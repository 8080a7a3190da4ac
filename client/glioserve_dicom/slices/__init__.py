"""From the images of a series to one volume behind a geometry gate."""
