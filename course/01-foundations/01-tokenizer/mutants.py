"""Wrong versions of exercise 1.1 that real people write, each with the check that must catch it first."""

# Counter and pairwise are imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant
from teachllm.stack.tokenizer import merge_pair


@mutant("test_the_result_is_a_list_of_pairs")
def returns_the_merged_text(word_counts, num_merges):
    pairs = Counter()
    for word, times in word_counts.items():
        for pair in pairwise(word):
            pairs[pair] += times
    return [bytes(pair).decode() for pair, _ in pairs.most_common(num_merges)]


@mutant("test_counts_are_weighted")
def counts_each_piece_once(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, _ in words:
            for pair in pairwise(ids):
                pairs[pair] += 1
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        words = [(merge_pair(ids, best, new_id), times) for ids, times in words]
    return merges


@mutant("test_pairs_are_counted_again_after_each_merge")
def counts_only_once(word_counts, num_merges):
    pairs = Counter()
    for word, times in word_counts.items():
        for pair in pairwise(word):
            pairs[pair] += times
    return sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:num_merges]


@mutant("test_pairs_are_counted_again_after_each_merge")
def does_not_write_the_merge_back(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                if pair not in merges:
                    pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        for ids, _ in words:
            ids = merge_pair(ids, best, new_id)
    return merges


@mutant("test_later_merges_build_on_new_ids")
def numbers_after_appending(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        new_id = 256 + len(merges)
        words = [(merge_pair(ids, best, new_id), times) for ids, times in words]
    return merges


@mutant("test_later_merges_build_on_new_ids")
def gives_every_merge_the_same_id(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256
        merges.append(best)
        words = [(merge_pair(ids, best, new_id), times) for ids, times in words]
    return merges


@mutant("test_equal_counts_go_to_the_smallest_pair")
def ties_by_the_order_of_the_dictionary(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=pairs.get)
        new_id = 256 + len(merges)
        merges.append(best)
        words = [(merge_pair(ids, best, new_id), times) for ids, times in words]
    return merges


@mutant("test_equal_counts_go_to_the_smallest_pair")
def ties_go_to_the_largest_pair(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        words = [(merge_pair(ids, best, new_id), times) for ids, times in words]
    return merges


@mutant("test_no_merge_crosses_a_border")
def joins_all_pieces_into_one(word_counts, num_merges):
    words = [([i for word, times in word_counts.items() for _ in range(times) for i in word], 1)]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        words = [(merge_pair(ids, best, new_id), times) for ids, times in words]
    return merges


@mutant("test_it_stops_when_no_pair_is_left")
def never_stops_early(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        words = [(merge_pair(ids, best, new_id), times) for ids, times in words]
    return merges


@mutant("test_every_place_merges")
def merges_only_the_first_place(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        for ids, _ in words:
            for i, pair in enumerate(pairwise(ids)):
                if pair == best:
                    ids[i : i + 2] = [new_id]
                    break
    return merges


@mutant("test_overlapping_places_all_count")
def counts_overlapping_pairs_once(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            i = 0
            while i + 1 < len(ids):
                pairs[ids[i], ids[i + 1]] += times
                i += 2 if i + 2 < len(ids) and ids[i] == ids[i + 1] == ids[i + 2] else 1
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        words = [(merge_pair(ids, best, new_id), times) for ids, times in words]
    return merges


@mutant("test_overlapping_pairs_merge_from_the_left")
def uses_the_middle_of_aaa_twice(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        for index, (ids, times) in enumerate(words):
            merged, i = [], 0
            while i < len(ids):
                if tuple(ids[i : i + 2]) == best:
                    merged.append(new_id)
                    i += 1 if tuple(ids[i + 1 : i + 3]) == best else 2
                else:
                    merged.append(ids[i])
                    i += 1
            words[index] = (merged, times)
    return merges


@mutant("test_overlapping_pairs_merge_from_the_left")
def merges_from_the_right(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        words = [(merge_pair(ids[::-1], best[::-1], new_id)[::-1], times) for ids, times in words]
    return merges


@mutant("test_the_argument_stays_as_it_was")
def works_in_the_given_dictionary(word_counts, num_merges):
    merges = []
    for new_id in range(256, 256 + num_merges):
        pairs = Counter()
        for ids, times in word_counts.items():
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for ids in list(word_counts):
            word_counts[tuple(merge_pair(ids, best, new_id))] = word_counts.pop(ids)
    return merges


@mutant("test_a_count_is_a_weight_and_not_copies")
def copies_each_piece_as_often_as_it_occurs(word_counts, num_merges):
    words = [(list(word), 1) for word, times in word_counts.items() for _ in range(times)]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        words = [(merge_pair(ids, best, new_id), times) for ids, times in words]
    return merges


@mutant("test_time_grows_with_the_length_and_not_its_square")
def rewrites_the_piece_at_every_place(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        for index, (ids, times) in enumerate(words):
            i = 0
            while i + 1 < len(ids):
                if (ids[i], ids[i + 1]) == best:
                    ids = [*ids[:i], new_id, *ids[i + 2 :]]
                i += 1
            words[index] = (ids, times)
    return merges


@mutant("test_time_grows_with_the_length_and_not_its_square")
def searches_from_the_start_again(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        for ids, _ in words:
            while best in (neighbours := list(pairwise(ids))):
                i = neighbours.index(best)
                ids[i : i + 2] = [new_id]
    return merges


@mutant("test_larger_counts_give_the_merges_of_the_course")
def counts_only_the_first_eight_of_a_piece(word_counts, num_merges):
    words = [(list(word), times) for word, times in word_counts.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = Counter()
        for ids, times in words:
            for pair in pairwise(ids[:8]):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        words = [(merge_pair(ids, best, new_id), times) for ids, times in words]
    return merges
