"""Wrong versions of exercise 8.4 that real people write, each with the check that must catch it first."""

# blocks_that_fit stands in the module of the stub.
from teachllm.school.checks import mutant


@mutant("test_the_weights_take_their_part")
def forgets_the_weights(lengths, memory, taken, token_bytes, *, share=0.9, block_size=16, max_running=256):
    free = blocks_that_fit(memory, 0, block_size * token_bytes, share)
    running = 0
    for length in lengths[:max_running]:
        free -= -(-length // block_size)
        if free < 0:
            break
        running += 1
    return running


@mutant("test_the_share_is_of_the_whole_memory")
def shares_what_is_left(lengths, memory, taken, token_bytes, *, share=0.9, block_size=16, max_running=256):
    free = max(0, int(share * (memory - taken) // (block_size * token_bytes)))
    running = 0
    for length in lengths[:max_running]:
        free -= -(-length // block_size)
        if free < 0:
            break
        running += 1
    return running


@mutant("test_every_request_rounds_up_by_itself")
def counts_tokens(lengths, memory, taken, token_bytes, *, share=0.9, block_size=16, max_running=256):
    room = block_size * blocks_that_fit(memory, taken, block_size * token_bytes, share)
    running = 0
    for length in lengths[:max_running]:
        room -= length
        if room < 0:
            break
        running += 1
    return running


@mutant("test_every_request_rounds_up_by_itself", "test_one_block_for_each")
def rounds_down(lengths, memory, taken, token_bytes, *, share=0.9, block_size=16, max_running=256):
    free = blocks_that_fit(memory, taken, block_size * token_bytes, share)
    running = 0
    for length in lengths[:max_running]:
        free -= length // block_size
        if free < 0:
            break
        running += 1
    return running


@mutant("test_full_blocks_need_no_other", "test_one_block_for_each")
def always_one_block_more(lengths, memory, taken, token_bytes, *, share=0.9, block_size=16, max_running=256):
    free = blocks_that_fit(memory, taken, block_size * token_bytes, share)
    running = 0
    for length in lengths[:max_running]:
        free -= length // block_size + 1
        if free < 0:
            break
        running += 1
    return running


@mutant("test_nobody_overtakes")
def lets_short_ones_overtake(
    lengths, memory, taken, token_bytes, *, share=0.9, block_size=16, max_running=256
):
    free = blocks_that_fit(memory, taken, block_size * token_bytes, share)
    running = 0
    for length in lengths:
        needed = -(-length // block_size)
        if needed <= free and running < max_running:
            free -= needed
            running += 1
    return running


@mutant("test_nobody_overtakes")
def divides_by_the_mean(lengths, memory, taken, token_bytes, *, share=0.9, block_size=16, max_running=256):
    free = blocks_that_fit(memory, taken, block_size * token_bytes, share)
    if not lengths:
        return 0
    mean = sum(-(-length // block_size) for length in lengths) / len(lengths)
    return min(len(lengths), max_running, int(free / mean))


@mutant("test_no_more_than_max_running")
def ignores_the_limit(lengths, memory, taken, token_bytes, *, share=0.9, block_size=16, max_running=256):
    free = blocks_that_fit(memory, taken, block_size * token_bytes, share)
    running = 0
    for length in lengths:
        free -= -(-length // block_size)
        if free < 0:
            break
        running += 1
    return running


@mutant("test_weights_that_do_not_fit")
def counts_down_from_a_negative_number(
    lengths, memory, taken, token_bytes, *, share=0.9, block_size=16, max_running=256
):
    free = int((share * memory - taken) // (block_size * token_bytes))
    running = 0
    while running < min(len(lengths), max_running) and free != 0:
        needed = -(-lengths[running] // block_size)
        if 0 < free < needed:
            break
        free -= needed
        running += 1
    return running


@mutant("test_the_13b_example")
def rounds_the_blocks_up(lengths, memory, taken, token_bytes, *, share=0.9, block_size=16, max_running=256):
    import math

    free = max(0, math.ceil((share * memory - taken) / (block_size * token_bytes)))
    running = 0
    for length in lengths[:max_running]:
        free -= -(-length // block_size)
        if free < 0:
            break
        running += 1
    return running
