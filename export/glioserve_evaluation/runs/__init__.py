"""A cohort's studies, the predictors that answer them, and the answers as they come."""
