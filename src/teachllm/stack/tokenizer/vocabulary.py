"""What a byte-level BPE tokenizer is made of, whichever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from teachllm.stack.tokenizer.bpe import Pair
from teachllm.stack.tokenizer.pretokenize import GPT2, Pattern

Normalization = Literal["NFC", "NFD", "NFKC", "NFKD"]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens, merges and the rules around them. Checked at construction: ValueError lists every problem.

    tokens: id → bytes of each ordinary token; merges: pairs of ids, earliest first, whose joined bytes are
    a token; special_tokens: text → id, disjoint from `tokens`; whole_pieces: a piece that is itself a token
    is taken as it stands, without replaying merges (tiktoken, Llama-3); normalization: the Unicode form
    text is brought into first.

    A byte that has no token of its own is dropped when encoding, as `tokenizers` does; `missing_bytes`
    lists them.
    """

    tokens: dict[int, bytes]
    merges: list[Pair]
    special_tokens: dict[str, int] = field(default_factory=dict)
    pattern: Pattern = GPT2
    whole_pieces: bool = False
    normalization: Normalization | None = None

    def __post_init__(self) -> None:
        if problems := self._problems():
            shown = "\n  ".join(problems[:10])
            more = f"\n  … and {len(problems) - 10} more" if len(problems) > 10 else ""
            raise ValueError(f"not a usable vocabulary:\n  {shown}{more}")

    def _problems(self) -> list[str]:
        problems = []
        if self.normalization is not None and self.normalization not in get_args(Normalization):
            problems.append(f"normalization {self.normalization!r} is not one of {get_args(Normalization)}")
        first_id: dict[bytes, int] = {}
        for token_id, token in self.tokens.items():
            if token_id < 0:
                problems.append(f"token {token!r} has the negative id {token_id}")
            if not token:
                problems.append(f"token {token_id} is empty")
            elif token in first_id:
                problems.append(f"ids {first_id[token]} and {token_id} are both {token!r}")
            first_id.setdefault(token, token_id)
        owner: dict[int, str] = {}
        for text, token_id in self.special_tokens.items():
            if not text:
                problems.append(f"special token {token_id} is empty")
            if token_id in self.tokens:
                problems.append(
                    f"special token {text!r} has the id {token_id} of the token {self.tokens[token_id]!r}"
                )
            if token_id in owner:
                problems.append(
                    f"special tokens {owner[token_id]!r} and {text!r} have the same id {token_id}"
                )
            owner.setdefault(token_id, text)
        seen: set[Pair] = set()
        for rank, (left, right) in enumerate(self.merges):
            if left not in self.tokens or right not in self.tokens:
                problems.append(f"merge {rank} joins ids {left} and {right}, but no token has one of them")
            elif self.tokens[left] + self.tokens[right] not in first_id:
                problems.append(
                    f"merge {rank} makes {self.tokens[left] + self.tokens[right]!r}, which is not a token"
                )
            if (left, right) in seen:
                problems.append(f"merge {rank} repeats the pair ({left}, {right})")
            seen.add((left, right))
        return problems

    @property
    def missing_bytes(self) -> bytes:
        """Bytes that no token spells alone: text that needs them loses them."""
        single = {token[0] for token in self.tokens.values() if len(token) == 1}
        return bytes(byte for byte in range(256) if byte not in single)
