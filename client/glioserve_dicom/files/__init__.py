"""From files and archives to parsed DICOM data sets, within bounds."""
