"""WordPiece: merges chosen by score instead of count, and encoding by greedy longest match. BERT's tokenizer.

A piece that continues a word is written with "##": "hugs" may be hug, ##s.

Schuster and Nakajima 2012, "Japanese and Korean Voice Search"; Devlin et al. 2018 (BERT). Google never
published the training code: the score is the one that the literature gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import regex

from teachllm.stack.tokenizer.bpe import count_pairs, merge_pair

CONTINUES = "##"


def train_wordpiece(word_counts: Mapping[str, int], vocab_size: int, unk: str = "[UNK]") -> list[str]:
    """Learn a vocabulary: the unknown token, every character met, then merges by score until `vocab_size`.

    The result may be smaller, when there is nothing left to merge, and never smaller than the characters.

    >>> train_wordpiece({"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}, 10)
    ['[UNK]', '##g', '##n', '##s', '##u', 'b', 'h', 'p', '##gs', '##ug']
    """
    words = {
        (word[0], *(CONTINUES + char for char in word[1:])): count for word, count in word_counts.items()
    }
    vocabulary = [unk, *sorted({piece for word in words for piece in word})]
    while len(vocabulary) < vocab_size and (scores := pair_scores(words)):
        pair = min(scores, key=lambda pair: (-scores[pair], pair))
        piece = pair[0] + pair[1].removeprefix(CONTINUES)
        words = {tuple(merge_pair(word, pair, piece)): count for word, count in words.items()}
        vocabulary.append(piece)
    return vocabulary


def pair_scores(words: Mapping[tuple[str, ...], int]) -> dict[tuple[str, str], float]:
    """count(ab) / (count(a) · count(b)) for every pair: high when a and b are seldom seen apart.

    Up to the corpus size this is P(ab) / (P(a) P(b)), whose logarithm is the pointwise mutual information.

    >>> pair_scores({("h", "##u", "##g"): 10, ("p", "##u", "##g"): 5})[("h", "##u")]   # 10 / (10 · 15)
    0.06666666666666667
    """
    pieces = Counter[str]()
    for word, count in words.items():
        for piece in word:
            pieces[piece] += count
    return {(a, b): count / (pieces[a] * pieces[b]) for (a, b), count in count_pairs(words).items()}


def wordpiece_encode(
    word: str, vocabulary: Collection[str], unk: str = "[UNK]", max_chars: int = 100
) -> list[str]:
    """Pieces of one word: from the left, always the longest one in the vocabulary. Merges are not replayed.

    When some part has no piece, the whole word is `unk`; so is a word of more than `max_chars` characters.

    >>> wordpiece_encode("hugs", {"h", "hug", "##s", "##u", "##g"})
    ['hug', '##s']
    >>> wordpiece_encode("hugz", {"h", "hug", "##s", "##u", "##g"})
    ['[UNK]']
    """
    if len(word) > max_chars:
        return [unk]
    pieces = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else CONTINUES + word[start:end]
            if piece in vocabulary:
                break
        else:
            return [unk]
        pieces.append(piece)
        start = end
    return pieces


# BERT's list of CJK blocks: ideographs only, neither kana nor hangul.
_CJK = (
    r"\u4E00-\u9FFF\u3400-\u4DBF\U00020000-\U0002A6DF\U0002A700-\U0002CEAF"
    r"\uF900-\uFAFF\U0002F800-\U0002FA1F"
)
_PUNCTUATION = r"!-/:-@\[-`{-~\p{P}"
_WORD = regex.compile(rf"[{_CJK}]|[{_PUNCTUATION}]|[^\s{_CJK}{_PUNCTUATION}]+")


def bert_words(text: str) -> list[str]:
    """Words as BERT cuts them: at white space, with every punctuation mark and Chinese character on its own.

    >>> bert_words("Hello, 世界!")
    ['Hello', ',', '世', '界', '!']
    """
    return _WORD.findall(text)
