"""The course as files that the retrieval of the stack reads: passages, translations, questions."""
