"""The fast path: the same ids and the same merges as the readable version, compiled with Numba.

Text goes through three passes, each a small kernel over arrays: `piece_ends` cuts UTF-8 bytes into pieces
with a state machine instead of a regular expression; `PieceTable` gives every distinct piece a number; then
`Encoder` replays the merges once a distinct piece, or `train` learns them. The readable functions are the
oracle of each in the tests.

Nothing here is imported until a long text asks for it: Numba takes half a second to import, and seconds to
compile the first time on a machine.
"""
