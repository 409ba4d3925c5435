"""A corpus to vectors, by any artifact of a bundle, with Apache Beam."""

from mmzoo.export.embed.corpus import embed_corpus
from mmzoo.export.embed.stored import load_embeddings

__all__ = ["embed_corpus", "load_embeddings"]
