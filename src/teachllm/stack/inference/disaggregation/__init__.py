"""Prefill and decoding in processes of their own, which hand over keys and values: DistServe, for real."""
