"""A manifest of any size to sharded record files, by Apache Beam."""

from mmzoo.data.prepare.pipeline import PrepareError, prepare_dataset

__all__ = ["PrepareError", "prepare_dataset"]
