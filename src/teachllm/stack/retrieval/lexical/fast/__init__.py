"""The loops of the lexical index, compiled with Numba: merging postings, weighing them, searching."""
