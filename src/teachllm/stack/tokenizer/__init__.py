"""Text to tokens and back: byte-level BPE trained and applied from scratch, and its relatives WordPiece and
Unigram.

`Tokenizer` is what callers use. The algorithms it stands on are small functions beside it.
"""

from teachllm.stack.tokenizer.bpe import (
    Merge,
    bpe_encode,
    count_pairs,
    iter_merges,
    merge_pair,
    most_frequent_pair,
    train_bpe,
)
from teachllm.stack.tokenizer.byte_alphabet import byte_alphabet, bytes_to_printable, printable_to_bytes
from teachllm.stack.tokenizer.pretokenize import (
    GPT2,
    LLAMA3,
    O200K,
    PATTERNS,
    QWEN2,
    SMOLLM2,
    Pattern,
    split_pieces,
)
from teachllm.stack.tokenizer.streaming import StreamDecoder
from teachllm.stack.tokenizer.tokenizer import Tokenizer, count_pieces
from teachllm.stack.tokenizer.vocabulary import Vocabulary

__all__ = [
    "GPT2",
    "LLAMA3",
    "O200K",
    "PATTERNS",
    "QWEN2",
    "SMOLLM2",
    "Merge",
    "Pattern",
    "StreamDecoder",
    "Tokenizer",
    "Vocabulary",
    "bpe_encode",
    "byte_alphabet",
    "bytes_to_printable",
    "count_pairs",
    "count_pieces",
    "iter_merges",
    "merge_pair",
    "most_frequent_pair",
    "printable_to_bytes",
    "split_pieces",
    "train_bpe",
]
