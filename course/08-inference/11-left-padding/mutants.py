"""Wrong versions of exercise 8.11 that real people write, each with the check that must catch it first."""

import torch

from teachllm.school.checks import mutant


@mutant("test_every_row_ends_in_the_last_column")
def pads_on_the_right(texts, pad_token):
    width = _width(texts)
    tokens = torch.tensor(
        [list(text) + [pad_token] * (width - len(text)) for text in texts], dtype=torch.long
    )
    mask = torch.arange(width) < torch.tensor([len(text) for text in texts])[:, None]
    return tokens, mask, positions_of(mask)


@mutant("test_a_real_token_may_equal_the_padding")
def finds_padding_by_its_token(texts, pad_token):
    width = _width(texts)
    tokens = torch.tensor(
        [[pad_token] * (width - len(text)) + list(text) for text in texts], dtype=torch.long
    )
    mask = tokens != pad_token
    return tokens, mask, positions_of(mask)


@mutant("test_each_text_counts_from_its_own_first_token")
def counts_columns(texts, pad_token):
    width = _width(texts)
    tokens = torch.tensor(
        [[pad_token] * (width - len(text)) + list(text) for text in texts], dtype=torch.long
    )
    mask = torch.arange(width) >= torch.tensor([width - len(text) for text in texts])[:, None]
    return tokens, mask, torch.arange(width).expand_as(tokens).contiguous() * mask


@mutant("test_each_text_counts_from_its_own_first_token")
def counts_from_one(texts, pad_token):
    width = _width(texts)
    tokens = torch.tensor(
        [[pad_token] * (width - len(text)) + list(text) for text in texts], dtype=torch.long
    )
    mask = torch.arange(width) >= torch.tensor([width - len(text) for text in texts])[:, None]
    return tokens, mask, mask.cumsum(-1)


@mutant("test_padding_has_position_zero")
def gives_padding_a_negative_position(texts, pad_token):
    width = _width(texts)
    tokens = torch.tensor(
        [[pad_token] * (width - len(text)) + list(text) for text in texts], dtype=torch.long
    )
    mask = torch.arange(width) >= torch.tensor([width - len(text) for text in texts])[:, None]
    return tokens, mask, mask.cumsum(-1) - 1


@mutant("test_the_mask_is_true_for_real_tokens")
def marks_the_padding(texts, pad_token):
    width = _width(texts)
    tokens = torch.tensor(
        [[pad_token] * (width - len(text)) + list(text) for text in texts], dtype=torch.long
    )
    padding = torch.arange(width) < torch.tensor([width - len(text) for text in texts])[:, None]
    return tokens, padding, positions_of(~padding)


@mutant("test_an_empty_text_is_a_row_of_padding")
def loses_the_type_of_an_empty_row(texts, pad_token):
    width = _width(texts)
    tokens = torch.tensor([[pad_token] * (width - len(text)) + list(text) for text in texts])
    mask = torch.arange(width) >= torch.tensor([width - len(text) for text in texts])[:, None]
    return tokens, mask, positions_of(mask)


@mutant("test_the_texts_stay_as_they_were")
def pads_the_lists_of_the_caller(texts, pad_token):
    width = _width(texts)
    n_padding = [width - len(text) for text in texts]
    for text, n in zip(texts, n_padding, strict=True):
        for _ in range(n):
            text.insert(0, pad_token)
    mask = torch.arange(width) >= torch.tensor(n_padding)[:, None]
    return torch.tensor(texts, dtype=torch.long), mask, positions_of(mask)
