"""Wrong versions of exercise 10.3 that real people write, each with the check that must catch it first."""

# heapq is imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_a_list_of_distances_and_numbers")
def returns_the_numbers_only(vectors, neighbours, query, entry, ef):
    def distance(node):
        return float(((vectors[node] - query) ** 2).sum())

    seen, to_follow, found = {entry}, [(distance(entry), entry)], [(-distance(entry), -entry)]
    while to_follow:
        nearest, node = heapq.heappop(to_follow)
        if len(found) == ef and (-nearest, -node) < found[0]:
            break
        for other in neighbours[node]:
            if other not in seen:
                seen.add(other)
                if len(found) < ef or (-distance(other), -other) > found[0]:
                    heapq.heappush(to_follow, (distance(other), other))
                    heapq.heappush(found, (-distance(other), -other))
                    if len(found) > ef:
                        heapq.heappop(found)
    return [-node for _, node in sorted(found, reverse=True)]


@mutant("test_the_entry_counts")
def keeps_only_what_it_meets_on_the_way(vectors, neighbours, query, entry, ef):
    def distance(node):
        return float(((vectors[node] - query) ** 2).sum())

    seen, to_follow, found = set(), [(distance(entry), entry)], []
    while to_follow:
        nearest, node = heapq.heappop(to_follow)
        if len(found) == ef and (-nearest, -node) < found[0]:
            break
        for other in neighbours[node]:
            if other not in seen:
                seen.add(other)
                if len(found) < ef or (-distance(other), -other) > found[0]:
                    heapq.heappush(to_follow, (distance(other), other))
                    heapq.heappush(found, (-distance(other), -other))
                    if len(found) > ef:
                        heapq.heappop(found)
    return sorted((-d, -node) for d, node in found)


@mutant("test_at_most_ef_and_only_what_can_be_reached")
def never_lets_the_farthest_go(vectors, neighbours, query, entry, ef):
    def distance(node):
        return float(((vectors[node] - query) ** 2).sum())

    seen, to_follow, found = {entry}, [(distance(entry), entry)], [(-distance(entry), -entry)]
    while to_follow:
        nearest, node = heapq.heappop(to_follow)
        if len(found) >= ef and (-nearest, -node) < found[0]:
            break
        for other in neighbours[node]:
            if other not in seen:
                seen.add(other)
                heapq.heappush(to_follow, (distance(other), other))
                heapq.heappush(found, (-distance(other), -other))
    return sorted((-d, -node) for d, node in found)


@mutant("test_at_most_ef_and_only_what_can_be_reached")
def compares_with_everything(vectors, neighbours, query, entry, ef):
    if not neighbours[entry]:
        return [(float(((vectors[entry] - query) ** 2).sum()), entry)]
    return sorted((float(((vector - query) ** 2).sum()), node) for node, vector in enumerate(vectors))[:ef]


@mutant("test_nearest_first_and_ties_by_number")
def returns_the_heap_as_it_is(vectors, neighbours, query, entry, ef):
    def distance(node):
        return float(((vectors[node] - query) ** 2).sum())

    seen, to_follow, found = {entry}, [(distance(entry), entry)], [(-distance(entry), -entry)]
    while to_follow:
        nearest, node = heapq.heappop(to_follow)
        if len(found) == ef and (-nearest, -node) < found[0]:
            break
        for other in neighbours[node]:
            if other not in seen:
                seen.add(other)
                if len(found) < ef or (-distance(other), -other) > found[0]:
                    heapq.heappush(to_follow, (distance(other), other))
                    heapq.heappush(found, (-distance(other), -other))
                    if len(found) > ef:
                        heapq.heappop(found)
    return [(-d, -node) for d, node in found]


@mutant("test_nearest_first_and_ties_by_number")
def ties_as_they_come(vectors, neighbours, query, entry, ef):
    def distance(node):
        return float(((vectors[node] - query) ** 2).sum())

    seen, to_follow, found = {entry}, [(distance(entry), entry)], [(-distance(entry), entry)]
    while to_follow:
        nearest, node = heapq.heappop(to_follow)
        if len(found) == ef and nearest > -found[0][0]:
            break
        for other in neighbours[node]:
            if other not in seen:
                seen.add(other)
                if len(found) < ef or distance(other) < -found[0][0]:
                    heapq.heappush(to_follow, (distance(other), other))
                    heapq.heappush(found, (-distance(other), other))
                    if len(found) > ef:
                        heapq.heappop(found)
    return [(-d, node) for d, node in sorted(found, reverse=True)]


@mutant("test_with_a_large_ef_it_is_exact")
def stops_in_the_first_dead_end(vectors, neighbours, query, entry, ef):
    def distance(node):
        return float(((vectors[node] - query) ** 2).sum())

    seen, to_follow, found = {entry}, [(distance(entry), entry)], [(-distance(entry), -entry)]
    while to_follow:
        nearest, node = heapq.heappop(to_follow)
        if len(found) > 12 and nearest > min(-d for d, _ in found):
            break
        for other in neighbours[node]:
            if other not in seen:
                seen.add(other)
                if len(found) < ef or (-distance(other), -other) > found[0]:
                    heapq.heappush(to_follow, (distance(other), other))
                    heapq.heappush(found, (-distance(other), -other))
                    if len(found) > ef:
                        heapq.heappop(found)
    return sorted((-d, -node) for d, node in found)


@mutant("test_greedy_walks_to_the_end_of_a_line")
def stops_as_soon_as_there_are_enough(vectors, neighbours, query, entry, ef):
    def distance(node):
        return float(((vectors[node] - query) ** 2).sum())

    seen, to_follow, found = {entry}, [(distance(entry), entry)], [(-distance(entry), -entry)]
    while to_follow and len(found) < ef:
        _, node = heapq.heappop(to_follow)
        for other in neighbours[node]:
            if other not in seen:
                seen.add(other)
                heapq.heappush(to_follow, (distance(other), other))
                heapq.heappush(found, (-distance(other), -other))
                if len(found) > ef:
                    heapq.heappop(found)
    return sorted((-d, -node) for d, node in found)


@mutant("test_the_same_walk_as_ours")
def follows_first_what_it_met_first(vectors, neighbours, query, entry, ef):
    def distance(node):
        return float(((vectors[node] - query) ** 2).sum())

    seen, to_follow, found = {entry}, [(distance(entry), entry)], [(-distance(entry), -entry)]
    while to_follow:
        nearest, node = to_follow.pop(0)
        if len(found) == ef and (-nearest, -node) < found[0]:
            break
        for other in neighbours[node]:
            if other not in seen:
                seen.add(other)
                if len(found) < ef or (-distance(other), -other) > found[0]:
                    to_follow.append((distance(other), other))
                    heapq.heappush(found, (-distance(other), -other))
                    if len(found) > ef:
                        heapq.heappop(found)
    return sorted((-d, -node) for d, node in found)
