"""Read files and archives as parsed DICOM data sets, within bounds."""
