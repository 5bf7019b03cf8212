"""Fused kernels for training on a CPU. Each has a readable oracle: the function that it stands in for.

What a training step does beside its matrix products is a long row of small passes over memory. A fused kernel
makes one pass of several, computes in float32 whatever the dtype in memory, and keeps little for the backward
pass. `threads` says when they can be used; elsewhere, and on a GPU, PyTorch's own operations run.
"""
