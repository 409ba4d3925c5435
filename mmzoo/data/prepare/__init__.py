"""A manifest of any size to sharded record files, by Apache Beam."""

from mmzoo.data.prepare.pipeline import prepare_dataset

__all__ = ["prepare_dataset"]
