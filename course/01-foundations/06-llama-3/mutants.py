"""Wrong versions of exercise 1.6 that real people write, each with the check that must catch it first."""

from teachllm.school.checks import mutant


@mutant("test_there_are_five_parts")
def leaves_out_the_tied_head(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (2 * d_model * inner + 2 * d_model * kv + (inner + 2 * kv) * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
    }


@mutant("test_counts_are_integers")
def divides(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner = n_heads * head_dim
    kv = inner / n_heads * n_kv_heads
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (2 * d_model * inner + 2 * d_model * kv + (inner + 2 * kv) * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_embedding")
def counts_both_tables_as_embedding(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    return {
        "embedding": (1 if tied_head else 2) * vocab_size * d_model,
        "attention": n_layers * (2 * d_model * inner + 2 * d_model * kv + (inner + 2 * kv) * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0,
    }


@mutant("test_feed_forward_of_all_layers")
def one_layer_only(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": 2 * d_model * inner + 2 * d_model * kv + (inner + 2 * kv) * qkv_bias,
        "feed_forward": 3 * d_model * hidden,
        "norms": 3 * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_feed_forward_has_three_matrices")
def two_matrices_as_in_gpt(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (2 * d_model * inner + 2 * d_model * kv + (inner + 2 * kv) * qkv_bias),
        "feed_forward": 2 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_multi_head_attention")
def forgets_the_output_matrix(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (d_model * inner + 2 * d_model * kv + (inner + 2 * kv) * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_multi_head_attention")
def one_matrix_for_keys_and_values(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (2 * d_model * inner + d_model * kv + (inner + kv) * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_grouped_query_attention")
def ignores_the_groups(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner = n_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (4 * d_model * inner + 3 * inner * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_grouped_query_attention")
def thinks_that_queries_are_merged(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    """GQA 'aggregates queries': all four matrices become narrow."""
    kv = n_kv_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (4 * d_model * kv + 3 * kv * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_heads_may_be_wider_than_the_stream")
def takes_the_heads_for_the_stream(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    kv = n_kv_heads * (d_model // n_heads)
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (2 * d_model * d_model + 2 * d_model * kv + (d_model + 2 * kv) * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_biases_of_queries_keys_and_values")
def ignores_the_biases(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (2 * d_model * inner + 2 * d_model * kv),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_biases_of_queries_keys_and_values")
def a_bias_on_the_output_too(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    biases = (inner + 2 * kv + d_model) * qkv_bias
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (2 * d_model * inner + 2 * d_model * kv + biases),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_norms")
def forgets_the_last_norm(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (2 * d_model * inner + 2 * d_model * kv + (inner + 2 * kv) * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": 2 * n_layers * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_norms")
def norms_with_biases(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (2 * d_model * inner + 2 * d_model * kv + (inner + 2 * kv) * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": 2 * (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }


@mutant("test_a_tied_head_counts_once")
def counts_the_tied_table_twice(
    vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden, tied_head=False, qkv_bias=False
):
    inner, kv = n_heads * head_dim, n_kv_heads * head_dim
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * (2 * d_model * inner + 2 * d_model * kv + (inner + 2 * kv) * qkv_bias),
        "feed_forward": 3 * n_layers * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": vocab_size * d_model,
    }
