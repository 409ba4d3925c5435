"""What a run prints when it is done."""

import rich
import rich.box
import rich.markup
import rich.table

from mmzoo.evaluation.report.values import in_words


def print_summary(metrics: dict, certificate: dict) -> None:
    """Prints the test metrics of a run's `metrics.json`, and its certificate."""
    test, primary = metrics["test"], metrics["primary"]
    called = in_words(primary)
    table = rich.table.Table(title=f"{metrics['data']['name']}, test {called}")
    table.add_column("features")
    table.add_column(called, justify="right")
    table.add_column("95 % interval", justify="right")
    whole = {"+".join(metrics["features"]): test["metrics"]}
    for name, found in (test["subsets"] or whole).items():
        value, (low, high) = found[primary]["value"], found[primary]["interval"]
        table.add_row(name, f"{value:.3f}", f"{low:.3f} to {high:.3f}")
    if test["baseline"] and primary in test["baseline"]:
        table.add_row("baseline, no input", f"{test['baseline'][primary]:.3f}", "")
    rich.print(table)
    print_certificate(certificate)


def print_certificate(certificate: dict) -> None:
    """Prints a line an artifact, of all its checks; and each check that does not hold."""
    table = rich.table.Table(
        title=f"Certificate: each artifact against Keras, tolerance {certificate['tolerance']:g}",
        box=rich.box.SIMPLE, pad_edge=False,
    )  # fmt: skip
    names = [e["metric"]["name"] for e in certificate["formats"].values() if e.get("metric")]
    called = in_words(names[0]) if names else "metric"
    columns = ("artifact", "checks", "max |Δ|", called, "change", "MB", "ms", "holds")
    for column in columns:
        first = column == "artifact"
        table.add_column(column, justify="left" if first else "right", no_wrap=True)
    for name, entry in certificate["formats"].items():
        checks, metric = entry["checks"], entry.get("metric")
        table.add_row(
            name, str(len(checks)),
            f"{max(c['max_abs'] for c in checks):.1e}" if checks else "",
            f"{metric['artifact']:.3f}" if metric else "",
            f"{metric['change']:+.3f}" if metric else "",
            f"{entry['bytes'] / 1e6:.1f}" if "bytes" in entry else "",
            f"{entry['latency_ms']['1']:.1f}" if entry.get("latency_ms") else "",
            "yes" if entry["holds"] else "NO",
        )  # fmt: skip
    rich.print(table)
    for size, reason in certificate.get("not_run", {}).items():
        rich.print(f"Not run, since Keras does not: {size} ({rich.markup.escape(reason)})")
    for name, reason in certificate.get("left_out", {}).items():
        rich.print(f"Left out: {name}. {rich.markup.escape(reason)}")
    for name, entry in certificate["formats"].items():
        for check in entry["checks"]:
            if not check["holds"]:
                place = f"{name}, {check['signature']}, batch {check['batch']}, {check['sizes']}"
                words = rich.markup.escape("; ".join(check["breaches"]))
                rich.print(f"{place}, output {check['output']!r}: {words}")
