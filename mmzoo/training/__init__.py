"""What a training run shows and keeps."""

from mmzoo.training.progress import RichProgress
from mmzoo.training.versions import package_versions

__all__ = ["RichProgress", "package_versions"]
