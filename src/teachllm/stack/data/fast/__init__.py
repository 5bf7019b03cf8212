"""The fast path of near-duplicate search: the signatures and matches of `minhash`, compiled with Numba."""
