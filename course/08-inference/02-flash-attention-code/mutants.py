"""Wrong versions of exercise 8.2 that real people write, each with the check that must catch it first.

Each differs from a right solution in what its name says; a comment marks the place.
"""

# torch, Tiles, Hbm and finite are imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_three_gradients_with_the_shapes_of_the_inputs")
def returns_the_gradients_in_another_order(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dk, dv, dq.to(q.dtype).flatten(1, 2)  # dq, dk, dv


@mutant("test_the_values_of_one_tile")
def takes_the_log_sum_exp_for_a_denominator(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores) / finite(whole[..., rows]).unsqueeze(-1)  # e^(S - L), not e^S / L
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_queries_and_keys_of_one_tile")
def forgets_that_the_denominator_changes(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * d_weights * tiles.scale  # no D
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_queries_and_keys_of_one_tile")
def subtracts_after_the_weights(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = (
                weights * d_weights - delta[..., rows].unsqueeze(-1)
            ) * tiles.scale  # a bracket too late
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_queries_and_keys_of_one_tile")
def forgets_the_scale(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1))  # no scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_a_scale_of_its_own")
def takes_the_usual_scale(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = (
                weights * (d_weights - delta[..., rows].unsqueeze(-1)) / q.shape[-1] ** 0.5
            )  # whatever was given
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_queries_sum_over_all_blocks_of_keys")
def overwrites_the_gradient_of_the_queries(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] = d_scores @ k_tile  # no sum
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_queries_sum_over_all_blocks_of_keys")
def sums_over_the_tile_only(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            own = (weights * d_weights).sum(-1, keepdim=True)  # D of these keys, not of all
            d_scores = weights * (d_weights - own) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_queries_sum_over_all_blocks_of_keys")
def normalizes_within_the_tile(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    d_outs = tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.softmax(scores, dim=-1)  # of these keys, not of all
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_keys_sum_over_all_blocks_of_queries")
def keeps_the_last_block_of_queries(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile = d_scores.transpose(-2, -1) @ q_tile  # no sum
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_a_causal_mask")
def forgets_the_mask(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = q_tile @ k_tile.transpose(-2, -1) * tiles.scale  # no mask
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_hidden_tiles_are_not_read")
def computes_hidden_tiles(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.row_blocks():  # all of them
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_queries_that_see_no_key")
def gives_nan_for_a_query_without_keys(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - whole[..., rows].unsqueeze(-1))  # −∞ − (−∞)
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_heads_that_share_keys_add_up")
def keeps_one_head_of_a_group(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile[:, :, 0]  # the others are lost
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_heads_that_share_keys_add_up")
def averages_over_a_group(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.mean(2)  # not the mean
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_dropout")
def drops_only_on_the_way_forward(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1)  # no Z
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_dropout")
def drops_within_the_softmax(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    whole, d_outs = tiles.grouped(logsumexp), tiles.grouped(d_out)
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = (
                weights * kept * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            )  # Z too often
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_bfloat16_is_rounded_once")
def rounds_at_every_block(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    on_chip = torch.Tensor.double if q.dtype == torch.float64 else torch.Tensor.float
    queries, keys, values = map(on_chip, (tiles.grouped(q), tiles.shared(k), tiles.shared(v)))
    whole, d_outs = tiles.grouped(logsumexp), on_chip(tiles.grouped(d_out))
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = tiles.grouped(torch.zeros_like(q)), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += (d_scores @ k_tile).to(q.dtype)  # in 16 bits
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    return dq.to(q.dtype).flatten(1, 2), dk, dv


@mutant("test_the_arguments_stay_as_they_were")
def throws_away_the_callers_gradient(q, k, v, out, logsumexp, d_out, *, hbm=None, **options):
    tiles = Tiles.of(q, k, v, **options)
    on_chip = torch.Tensor.double if q.dtype == torch.float64 else torch.Tensor.float
    queries, keys, values = map(on_chip, (tiles.grouped(q), tiles.shared(k), tiles.shared(v)))
    whole, d_outs = tiles.grouped(logsumexp), on_chip(tiles.grouped(d_out))
    delta = (d_outs * tiles.grouped(out)).sum(-1)
    dq, dk, dv = torch.zeros_like(queries), torch.zeros_like(k), torch.zeros_like(v)
    for columns in tiles.column_blocks():
        k_tile, v_tile = keys[..., columns, :], values[..., columns, :]
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile, d_out_tile = queries[..., rows, :], d_outs[..., rows, :]
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(whole[..., rows]).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            kept = torch.ones_like(weights) if kept is None else kept
            dv_tile += (weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1) * kept
            d_scores = weights * (d_weights - delta[..., rows].unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            dq[..., rows, :] += d_scores @ k_tile
        dk[..., columns, :] = dk_tile.sum(2)
        dv[..., columns, :] = dv_tile.sum(2)
    d_outs.zero_()  # not needed here any more, but it is the caller's
    return dq.to(q.dtype).flatten(1, 2), dk, dv
