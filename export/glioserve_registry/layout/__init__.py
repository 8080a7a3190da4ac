"""The folder that Triton serves: its static models, versions, records and their verification."""
