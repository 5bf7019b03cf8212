"""The studio: one local web application, for one learner, that only its own page may talk to."""
