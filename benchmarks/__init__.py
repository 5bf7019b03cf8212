"""Side-by-side timings against the reference libraries: `make bench NAME=bpe`."""
