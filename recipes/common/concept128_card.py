"""What the model card of a classifier of Concept-128 says."""

from mmzoo.data import concept128


def about(metrics):
    """What the model card says besides what was measured of the artifacts."""
    sources = concept128.split_sources()
    drawn = "; ".join(
        f"{split}: {', '.join(', '.join(names) for names in each.values())}"
        for split, each in sources.items()
    )
    tested, primary = metrics["test"], metrics["primary"]
    found = ", ".join(
        f"{name} {values[primary]['value']:.3f}" for name, values in tested["subsets"].items()
    )
    return {
        "": f"Names one of {len(concept128.class_names())} everyday concepts from a picture, a "
        f"phrase and a spoken word, or any of them. {metrics['fusion'].capitalize()} fusion, "
        f"seed {metrics['seed']}.",
        "Data": f"Concept-128 (asset {metrics['data']['sha256'][:12]}), split by source. {drawn}.",
        "Metrics": f"Accuracy on {tested['samples']:,} test samples, by what is present: {found}.",
        "Limits": "Icons on white, short phrases, synthetic speech: it knows little of photos, "
        "sentences or human voices, and answers one of its concepts whatever it is shown.",
        "Licence": "Apache-2.0; the sources of the data are in mmzoo's NOTICE.",
    }
