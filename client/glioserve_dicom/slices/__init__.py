"""Make one volume of the images of a series, behind a geometry gate."""
