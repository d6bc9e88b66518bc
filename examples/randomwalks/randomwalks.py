"""Draw a random directed graph and walks to its goal, and compare a walk with the shortest one.

Nodes are letters. A walk is a string of them: "dgka" starts at d and reaches the goal a over g and k.
"""

import random
import string
from collections import deque
from itertools import pairwise

GOAL = "a"


class RandomGraph:
    """A graph of `nodes` letters, each with 1 to `most_edges` edges; every node can reach the goal, which ends a walk.

    Everything follows from `seed`.
    """

    def __init__(self, nodes: int = 20, most_edges: int = 4, seed: int = 1000):
        self.rng = random.Random(seed)
        self.nodes = string.ascii_lowercase[:nodes]
        self.starts = [node for node in self.nodes if node != GOAL]
        while True:
            self.edges = {node: self._draw_edges(node, most_edges) for node in self.starts} | {GOAL: []}
            self.distance = self._distances()
            if len(self.distance) == nodes:
                break

    def _draw_edges(self, node: str, most_edges: int) -> list[str]:
        others = [other for other in self.nodes if other != node]
        return sorted(self.rng.sample(others, self.rng.randint(1, most_edges)))

    def _distances(self) -> dict[str, int]:
        """Count the steps of the shortest walk to the goal from each node that has one: breadth first, backwards."""
        distance, queue = {GOAL: 0}, deque([GOAL])
        while queue:
            reached = queue.popleft()
            for node in self.starts:
                if node not in distance and reached in self.edges[node]:
                    distance[node] = distance[reached] + 1
                    queue.append(node)
        return distance

    def walk(self, most_steps: int) -> str:
        """Draw a walk from a random start to the goal, in at most `most_steps`, that visits no node twice."""
        start = self.rng.choice(self.starts)
        while True:
            walk = start
            while walk[-1] != GOAL and len(walk) <= most_steps:
                onward = [node for node in self.edges[walk[-1]] if node not in walk]
                if not onward:
                    break
                walk += self.rng.choice(onward)
            if walk[-1] == GOAL:
                return walk

    def optimality(self, walk: str) -> float:
        """Return the steps of the shortest walk from the same start over the steps taken: 1 for a shortest walk.

        0 for a walk that leaves the graph's edges, continues past the goal, or never arrives.
        """
        follows_edges = all(onward in self.edges.get(node, ()) for node, onward in pairwise(walk))
        if not follows_edges or len(walk) < 2 or walk[-1] != GOAL:
            return 0.0
        return self.distance[walk[0]] / (len(walk) - 1)
