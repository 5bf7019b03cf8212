"""What cutting a prompt costs, and how large the pieces should be. Agrawal et al. 2023, arXiv:2308.16369."""

from __future__ import annotations

from teachllm.stack.inference.simulation.cost import StepTimes


def reread_positions(prompt: int, chunk: int) -> int:
    """Positions of the cache that are read once more because a prompt is read in pieces of `chunk` tokens:
    each piece reads all before it, c · (1 + 2 + … + (n − 1)) for n full ones.

    >>> reread_positions(1024, 256)  # 256 + 512 + 768
    1536
    """
    if prompt < 1 or chunk < 1:
        raise ValueError(f"prompt is {prompt} and chunk {chunk}; both must be at least 1")
    return sum(range(chunk, prompt, chunk))


def chunked_prefill_seconds(times: StepTimes, prompt: int, chunk: int) -> float:
    """Time to read a prompt of `prompt` tokens, `chunk` a step, with nothing else in these steps."""
    starts = range(0, prompt, chunk)
    return sum(
        times.seconds([(start, min(chunk, prompt - start))], int(start + chunk >= prompt)) for start in starts
    )


def decode_slots(times: StepTimes, length: int) -> int:
    """B = ⌊(M_G − M_S) / (L · m_kv)⌋: texts of `length` tokens whose caches fit beside the weights (eq. in
    section 4.3 of the paper); 0 if not even one does.
    """
    return max(0, times.cache_tokens) // length


def balanced_ratio(chunk: int, slots: int) -> float:
    """P : D = C / (B − 1): prompt tokens for each token written, so that prompts in pieces of C last exactly
    as long as the other B − 1 texts decode beside them; there the gain is largest.

    >>> round(balanced_ratio(256, 18), 1)
    15.1
    """
    if chunk < 1 or slots < 2:
        raise ValueError(f"chunk is {chunk} and slots {slots}; it takes a token at least, and two texts")
    return chunk / (slots - 1)
