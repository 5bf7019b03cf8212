"""The parts that language models are made of: attention, KV cache, positions, norms, feed-forward."""
