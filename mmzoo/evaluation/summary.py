"""What a run prints when it is done."""

import rich
import rich.table


def print_summary(metrics: dict, certificate: dict) -> None:
    """Prints the accuracies of a run's `metrics.json`, and its certificate."""
    table = rich.table.Table(title=f"Concept-128, {metrics['fusion']} fusion, test accuracy")
    table.add_column("modalities")
    table.add_column("accuracy", justify="right")
    for name, value in metrics["test"]["accuracy"].items():
        table.add_row(name, f"{value:.3f}")
    rich.print(table)
    table = rich.table.Table(title="Certificates: the artifact against Keras")
    for column in ("format", "holds", "max |Δ|", "accuracy", "change", "MB", "ms"):
        table.add_column(column, justify="left" if column == "format" else "right")
    for name, entry in certificate["formats"].items():
        table.add_row(
            name, "yes" if entry["holds"] else "NO",
            f"{max(check['max_abs'] for check in entry['checks']):.1e}",
            f"{entry['metric']['artifact']:.3f}", f"{entry['metric']['change']:+.3f}",
            f"{entry['bytes'] / 1e6:.1f}", f"{entry['latency_ms']['1']:.1f}",
        )  # fmt: skip
    rich.print(table)
