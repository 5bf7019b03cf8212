"""Wrong versions of exercise 8.10 that real people write, each with the check that must catch it first."""

# heapq and node_accuracy are imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_one_head_gives_its_best_guesses")
def counts_the_root(accuracies, n_nodes):
    chosen, waiting = [()], [(-share, (rank,)) for rank, share in enumerate(accuracies[0])]
    heapq.heapify(waiting)
    while waiting and len(chosen) < n_nodes:
        _, best = heapq.heappop(waiting)
        chosen.append(best)
        if len(best) < len(accuracies):
            for rank in range(len(accuracies[len(best)])):
                heapq.heappush(waiting, (-node_accuracy((*best, rank), accuracies), (*best, rank)))
    return tuple(chosen[1:])


@mutant("test_one_head_gives_its_best_guesses")
def only_the_best_of_each_head(accuracies, n_nodes):
    return tuple((0,) * depth for depth in range(1, min(n_nodes, len(accuracies)) + 1))


@mutant("test_the_product_decides")
def level_by_level(accuracies, n_nodes):
    import itertools

    levels = (
        itertools.product(*(range(len(of_head)) for of_head in accuracies[:depth]))
        for depth in range(1, len(accuracies) + 1)
    )
    return tuple(itertools.islice(itertools.chain.from_iterable(levels), n_nodes))


@mutant("test_the_product_decides")
def looks_at_the_last_head_alone(accuracies, n_nodes):
    chosen, waiting = [], [(-share, (rank,)) for rank, share in enumerate(accuracies[0])]
    heapq.heapify(waiting)
    while waiting and len(chosen) < n_nodes:
        _, best = heapq.heappop(waiting)
        chosen.append(best)
        if len(best) < len(accuracies):
            for rank, share in enumerate(accuracies[len(best)]):
                heapq.heappush(waiting, (-share, (*best, rank)))
    return tuple(chosen)


@mutant("test_the_product_decides")
def adds_instead_of_multiplying(accuracies, n_nodes):
    chosen, waiting = [], [(-share, (rank,)) for rank, share in enumerate(accuracies[0])]
    heapq.heapify(waiting)
    while waiting and len(chosen) < n_nodes:
        score, best = heapq.heappop(waiting)
        chosen.append(best)
        if len(best) < len(accuracies):
            for rank, share in enumerate(accuracies[len(best)]):
                heapq.heappush(waiting, (score - share, (*best, rank)))
    return tuple(chosen)


@mutant("test_parents_come_first")
def sorts_with_deep_ones_first(accuracies, n_nodes):
    import itertools

    ranks = [range(len(of_head)) for of_head in accuracies]
    paths = [path for depth in range(1, len(ranks) + 1) for path in itertools.product(*ranks[:depth])]
    return tuple(sorted(paths, key=lambda path: (-node_accuracy(path, accuracies), -len(path)))[:n_nodes])


@mutant("test_a_small_tree_is_returned_whole")
def pops_from_an_empty_heap(accuracies, n_nodes):
    chosen, waiting = [], [(-share, (rank,)) for rank, share in enumerate(accuracies[0])]
    heapq.heapify(waiting)
    for _ in range(n_nodes):
        _, best = heapq.heappop(waiting)
        chosen.append(best)
        if len(best) < len(accuracies):
            for rank in range(len(accuracies[len(best)])):
                heapq.heappush(waiting, (-node_accuracy((*best, rank), accuracies), (*best, rank)))
    return tuple(chosen)


@mutant("test_no_tree_of_the_size_is_better")
def adds_only_the_best_child(accuracies, n_nodes):
    chosen, waiting = [], [(-share, (rank,)) for rank, share in enumerate(accuracies[0])]
    heapq.heapify(waiting)
    while waiting and len(chosen) < n_nodes:
        _, best = heapq.heappop(waiting)
        chosen.append(best)
        if len(best) < len(accuracies):
            for rank in range(min(2, len(accuracies[len(best)]))):
                heapq.heappush(waiting, (-node_accuracy((*best, rank), accuracies), (*best, rank)))
    return tuple(chosen)


@mutant("test_no_tree_of_the_size_is_better")
def believes_that_ranks_are_sorted(accuracies, n_nodes):
    chosen, waiting = [], [(-accuracies[0][0], (0,))]
    while waiting and len(chosen) < n_nodes:
        _, best = heapq.heappop(waiting)
        chosen.append(best)
        following = []
        if best[-1] + 1 < len(accuracies[len(best) - 1]):
            following.append((*best[:-1], best[-1] + 1))
        if len(best) < len(accuracies):
            following.append((*best, 0))
        for path in following:
            heapq.heappush(waiting, (-node_accuracy(path, accuracies), path))
    return tuple(chosen)


@mutant("test_it_looks_only_at_what_can_be_added")
def lists_everything(accuracies, n_nodes):
    import itertools

    if n_nodes < 1 or not all(0 <= share <= 1 for of_head in accuracies for share in of_head):
        raise ValueError("no tree")
    ranks = [range(len(of_head)) for of_head in accuracies]
    paths = (path for depth in range(1, len(ranks) + 1) for path in itertools.product(*ranks[:depth]))
    return tuple(
        heapq.nsmallest(n_nodes, paths, key=lambda path: (-node_accuracy(path, accuracies), len(path)))
    )


@mutant("test_nonsense_is_refused")
def refuses_nothing(accuracies, n_nodes):
    chosen, waiting = [], [(-share, (rank,)) for rank, share in enumerate(accuracies[0])]
    heapq.heapify(waiting)
    while waiting and len(chosen) < n_nodes:
        _, best = heapq.heappop(waiting)
        chosen.append(best)
        if len(best) < len(accuracies):
            for rank in range(len(accuracies[len(best)])):
                heapq.heappush(waiting, (-node_accuracy((*best, rank), accuracies), (*best, rank)))
    return tuple(chosen)


@mutant("test_the_argument_stays_as_it_was")
def pops_from_the_argument(accuracies, n_nodes):
    if n_nodes < 1 or not all(0 <= share <= 1 for of_head in accuracies for share in of_head):
        raise ValueError("no tree")
    chosen, waiting = [], [(-share, (rank,)) for rank, share in enumerate(accuracies[0])]
    heapq.heapify(waiting)
    while waiting and len(chosen) < n_nodes:
        _, best = heapq.heappop(waiting)
        chosen.append(best)
        if len(best) < len(accuracies):
            for rank in range(len(accuracies[len(best)])):
                heapq.heappush(waiting, (-node_accuracy((*best, rank), accuracies), (*best, rank)))
    accuracies[0].append(0.0)
    return tuple(chosen)
