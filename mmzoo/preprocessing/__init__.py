"""Raw bytes, strings and waveforms to tensors, as Keras layers that export."""

from mmzoo.preprocessing.log_mel import LogMel

__all__ = ["LogMel"]
