"""Records of the bridge on the disk: states of studies, files on their way, the audit log."""
