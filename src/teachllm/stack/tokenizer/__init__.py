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
from teachllm.stack.tokenizer.sentencepiece_text import (
    byte_pieces,
    count_space_words,
    sentencepiece_normalize,
    sentencepiece_restore,
)
from teachllm.stack.tokenizer.streaming import StreamDecoder
from teachllm.stack.tokenizer.tokenizer import Tokenizer, count_pieces, learn_merges
from teachllm.stack.tokenizer.unigram import unigram_encode, unigram_nbest, unigram_viterbi
from teachllm.stack.tokenizer.unigram_training import train_unigram
from teachllm.stack.tokenizer.vocabulary import Vocabulary
from teachllm.stack.tokenizer.wordpiece import bert_words, pair_scores, train_wordpiece, wordpiece_encode

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
    "bert_words",
    "bpe_encode",
    "byte_alphabet",
    "byte_pieces",
    "bytes_to_printable",
    "count_pairs",
    "count_pieces",
    "count_space_words",
    "iter_merges",
    "learn_merges",
    "merge_pair",
    "pair_scores",
    "printable_to_bytes",
    "sentencepiece_normalize",
    "sentencepiece_restore",
    "split_pieces",
    "train_bpe",
    "train_unigram",
    "train_wordpiece",
    "unigram_encode",
    "unigram_nbest",
    "unigram_viterbi",
    "wordpiece_encode",
]
