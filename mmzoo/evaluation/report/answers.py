"""The answers of a report, by kind: sections about all samples, and one sample's."""

import numpy as np

from mmzoo.evaluation.report.figures import picture, scatter
from mmzoo.evaluation.report.values import shown_number
from mmzoo.tasks import Labels, Scores, Task, Value

PAIRS, TOP, LABELS = 12, 3, 30  # how many of each the page shows


def answer_sections(task: Task, inputs: dict, answers: dict, targets: dict) -> list[dict]:
    """What the page says of each answer over all samples: dicts with a `kind` and its values."""
    sections = []
    for answer in task.answers:
        target = _target_of(task, answer)
        if target is None or answer.name not in answers:
            continue
        values, truth = answers[answer.name], targets[target]
        if isinstance(answer, Scores):
            sections.append(_confusions(task, answer, inputs, values, truth))
        elif isinstance(answer, Labels):
            sections.append(_labels(answer, values, truth))
        elif isinstance(answer, Value):
            svg = scatter(truth, values.reshape(truth.shape), answer.name, target, answer.unit)
            sections.append({"kind": "values", "answer": answer.name, "svg": svg})
    return sections


def shown_answer(task: Task, answer, answers: dict, targets: dict, row: int) -> dict:
    """An answer to one sample: `kind`, and what its kind shows."""
    value, target = answers[answer.name][row], _target_of(task, answer)
    truth = None if target is None else targets[target][row]
    shown: dict = dict.fromkeys(("true", "value", "top", "rank", "score"))
    shown |= {"kind": answer.kind, "name": answer.name}
    if isinstance(answer, Scores):
        names = answer.classes or [str(k) for k in range(len(value))]
        order = np.argsort(-value, kind="stable")
        known = None if truth is None else int(truth)
        shown["top"] = [
            {"name": str(names[k]), "score": float(value[k]), "true": int(k) == known}
            for k in order[:TOP]
        ]
        if truth is not None:
            shown["true"] = str(names[int(truth)])
            shown["rank"] = int(np.flatnonzero(order == truth)[0]) + 1
            shown["score"] = float(value[int(truth)])
    elif isinstance(answer, Labels):
        given = [k for k in np.argsort(-value, kind="stable") if value[k] > answer.threshold]
        right = [] if truth is None else list(np.flatnonzero(truth))
        shown["top"] = [
            {"name": answer.classes[k], "score": float(value[k]), "true": k in right}
            for k in given[: 2 * TOP]
        ]
        shown["true"] = ", ".join(answer.classes[k] for k in right) or "none"
    elif isinstance(answer, Value):
        unit = f" {answer.unit}" * bool(answer.unit)
        shown["value"] = shown_number(np.ravel(value)[0]) + unit
        shown["true"] = None if truth is None else shown_number(np.ravel(truth)[0]) + unit
    else:
        shown["value"] = f"{value.dtype} of shape {list(value.shape)}"
    return shown


def _target_of(task, answer):
    """The target that an answer is compared with; None if no metric does."""
    return next((m.target for m in task.metrics if m.answer == answer.name), None)


def _confusions(task, answer, inputs, scores, truth):
    """Pairs of classes that were confused, most often first."""
    names = [str(each) for each in answer.classes or range(scores.shape[1])]
    chosen = scores.argmax(axis=1)
    wrong = chosen != truth
    found, counts = np.unique(
        np.stack([truth[wrong], chosen[wrong]], 1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    image = next((f.name for f in task.features if f.kind == "image" and f.name in inputs), None)
    pairs = []
    for k in order[:PAIRS]:
        true, other = map(int, found[k])
        rows = np.flatnonzero((truth == true) & (chosen == other))
        surest = rows[scores[rows, other].argmax()]
        pairs.append({
            "true": names[true], "predicted": names[other], "count": int(counts[k]),
            "of": int(np.sum(truth == true)), "score": float(scores[surest, other]),
            "image": None if image is None else picture(np.asarray(inputs[image][surest], "uint8")),
        })  # fmt: skip
    return {
        "kind": "confusions", "answer": answer.name, "pairs": pairs, "different": len(order),
        "wrong": int(wrong.sum()), "images": image is not None,
    }  # fmt: skip


def _labels(answer, scores, truth):
    """How well each label is found, the most frequent first."""
    from sklearn.metrics import average_precision_score

    given = scores > answer.threshold
    order = np.argsort(-truth.sum(axis=0), kind="stable")[:LABELS]
    rows = []
    for k in order:
        right = int(np.sum(given[:, k] & (truth[:, k] > 0)))
        known, made = int(truth[:, k].sum()), int(given[:, k].sum())
        rows.append({
            "name": answer.classes[k], "samples": known,
            "precision": right / made if made else None,
            "recall": right / known if known else None,
            "average": float(average_precision_score(truth[:, k], scores[:, k])) if known else None,
        })  # fmt: skip
    return {"kind": "labels", "answer": answer.name, "rows": rows, "labels": len(answer.classes)}
