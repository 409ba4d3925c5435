"""What a run was worth: the report and its figures."""
