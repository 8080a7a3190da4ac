"""A cohort's studies, who answers them, and the answers as they come."""
