"""What a quantised artifact may lose."""

from mmzoo.export.certify.quantization_limits import limit_breaches


def check(change=None, differ=0, *, sizes="samples", samples=1000, output="p", top1=1.0, off=0.01):
    """A line of a certificate; `change` of its metric, None: it has none."""
    metric = None
    if change is not None:
        metric = {
            "name": "accuracy", "artifact": 0.5, "change": change, "lost": -change,
            "error": differ**0.5 / samples,
        }  # fmt: skip
    return {
        "sizes": sizes, "samples": samples, "output": output, "batch": 17, "metric": metric,
        "agreement": top1, "scale_relative": off,
    }  # fmt: skip


def lost(*checks, limit=0.005):
    return limit_breaches({"checks": list(checks)}, limit)


def test_what_counts_as_lost():
    whole = check(-0.005, 5)
    assert lost(whole) == [] and lost(check(0.2, 200)) == []
    [breach] = lost(check(-0.006, 6))
    assert "output 'p': accuracy 0.500, -0.006" in breach and "more than 0.005 lost" in breach
    # 3 of 100 lost and none won: 0.03 is within 0.005 and two errors of 0.017.
    assert lost(whole, check(-0.03, 3, sizes="text", samples=100)) == []
    [breach] = lost(whole, check(-0.09, 9, sizes="text", samples=100))
    assert "keep the tower 'text' larger (--quantize text=float16)" in breach
    [breach] = lost(whole, check(-0.09, 9, sizes="text+audio", samples=100))
    assert "tower" not in breach
    # Other batches and sizes count, with a metric and without.
    [breach] = lost(whole, check(-1.0, 51, samples=51))
    assert "samples, batch 17" in breach
    [breach] = lost(whole, check(sizes="short", samples=6, top1=0.0))
    assert "short" in breach and "0.00% of the decisions agree" in breach
    [breach] = lost(check(top1=0.9))
    assert "90.00%" in breach
    assert lost(check(top1=0.996)) == []


def test_an_output_without_metric_or_first_class_is_held_to_its_scale():
    assert lost(check(output="embedding", top1=None, off=0.2)) == []
    for off in (0.3, 1.0, float("nan")):
        [breach] = lost(check(output="embedding", top1=None, off=off))
        assert "output 'embedding': off by" in breach
