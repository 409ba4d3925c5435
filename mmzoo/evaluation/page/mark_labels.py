"""Names beside the marks of a picture, moved until none lies on another."""

from collections.abc import Sequence

import numpy as np

_DISTANCES = (5, 9, 14, 20, 28, 38, 50, 64, 80, 98, 120, 145, 175, 210)  # points
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_ROUNDS = 4  # in which each label looks for a better place among the others


def place_labels(
    points: np.ndarray, sizes: np.ndarray, bounds: Sequence[float], obstacles: np.ndarray
) -> np.ndarray:
    """Finds a place for the label of each point.

    Greedy, the most crowded point first, then rounds of repair: a place costs its distance, and
    much more for every label, mark or leading line that it meets.

    Args:
        points: Float `(labels, 2)`: x to the right, y up.
        sizes: Float `(labels, 2)`: width and height of each label.
        bounds: `left, bottom, right, top` of the area that holds all labels.
        obstacles: Float `(boxes, 4)` of `left, bottom, right, top` that a label should miss.

    Returns:
        Float `(labels, 4)` boxes of `left, bottom, right, top`.

    Example:

    >>> points = np.array([[50.0, 50.0], [51.0, 50.0]])
    >>> sizes = np.full((2, 2), 10.0)
    >>> place_labels(points, sizes, (0, 0, 100, 100), np.zeros((0, 4))).tolist()
    [[55.0, 45.0, 65.0, 55.0], [36.0, 45.0, 46.0, 55.0]]
    """
    count = len(points)
    candidates = [_candidates(points[i], sizes[i], bounds) for i in range(count)]
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    order = np.argsort(np.sort(distances, 1)[:, 1 : 1 + min(5, count - 1)].sum(1), kind="stable")
    alone = [_alone(points[i], candidates[i], points, obstacles) for i in range(count)]
    boxes = np.full((count, 4), np.nan)  # nothing meets a label without a place
    for _ in range(_ROUNDS):
        for i in order:
            others = np.delete(np.arange(count), i)
            found, _ = candidates[i]
            ends = _nearest(found, points[i])
            cost = alone[i] + 1000 * _overlap(found, boxes[others]).sum(1)
            cost += 300 * _crosses(points[i], ends, boxes[others]).sum(1)
            lines = _nearest(boxes[others], points[others])
            for start, end in zip(points[others], lines, strict=True):
                if np.isfinite(end).all():  # its leading line
                    cost += 300 * _crosses(start, end[None], found)[0]
                    cost += 60 * _meet(points[i], ends, start, end)
            boxes[i] = found[cost.argmin()]
    return boxes


def _candidates(point, size, bounds):
    """Boxes around a point, inside the bounds, and how far away they are."""
    angle, distance = np.meshgrid(_ANGLES, _DISTANCES)
    toward = np.stack([np.cos(angle), np.sin(angle)], -1).reshape(-1, 2).round(9)
    distance = distance.reshape(-1, 1)
    center = point + toward * distance + np.sign(toward) * size / 2
    # Beside a mark a label is read best: on its line, to the right a little better than left.
    cost = distance[:, 0] + 4 * np.abs(toward[:, 1]) + (toward[:, 0] < 0.1)
    boxes = np.concatenate([center - size / 2, center + size / 2], 1)
    left, bottom, right, top = bounds
    inside = (boxes[:, 0] >= left) & (boxes[:, 1] >= bottom)
    inside &= (boxes[:, 2] <= right) & (boxes[:, 3] <= top)
    return (boxes[inside], cost[inside]) if inside.any() else (boxes, cost)


def _alone(point, candidates, points, obstacles):
    """What each box costs whatever the other labels do."""
    boxes, cost = candidates
    marks = np.concatenate([points - 4, points + 4], 1)
    cost = cost + 200 * _overlap(boxes, marks).sum(1) + 80 * _overlap(boxes, obstacles).sum(1)
    others = marks[(points != point).any(1)]
    return cost + 25 * _crosses(point, _nearest(boxes, point), others).sum(1)


def _nearest(boxes, point):
    """The place of each box that is nearest to the point (or to its own one of points)."""
    return np.clip(point, boxes[:, :2], boxes[:, 2:])


def _overlap(boxes, others):
    """Bool `(boxes, others)`."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return (low < high).all(-1)


def _crosses(start, ends, boxes):
    """Bool `(ends, boxes)`: the line from the start to an end runs through a box."""
    steps = np.linspace(0, 1, 16)[:, None]
    line = start + steps * (ends[:, None] - start)  # (ends, steps, 2)
    inside = (line[:, :, None] > boxes[:, :2]) & (line[:, :, None] < boxes[:, 2:])
    return inside.all(-1).any(1)


def _meet(start, ends, other_start, other_end):
    """Bool `(ends,)`: the line from the start to an end crosses another line."""

    def side(a, b, c):
        u, v = b - a, c - a
        return np.sign(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])

    return (side(start, ends, other_start) != side(start, ends, other_end)) & (
        side(other_start, other_end, start) != side(other_start, other_end, ends)
    )
