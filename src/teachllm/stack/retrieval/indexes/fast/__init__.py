"""The inner loops of the indexes, compiled with Numba. Each has a readable oracle that the tests hold it to.

Vectors are rows of float32 whose width is a multiple of 16 (`rows.padded`), so no loop has a remainder, and
a kernel is told their address. Distances are "smaller is nearer": the squared L2 distance, or the negative
inner product. Numba notices changes only in a kernel's own file: after a change to
`vector_operations`, `distances`, `graph` or `graph_building`, delete `__pycache__` beside them.
"""
