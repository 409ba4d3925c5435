"""Arrays: outputs of which no more is known than their dtype and shape."""

import dataclasses

from mmzoo.tasks.answers.answer import Answer


@dataclasses.dataclass(frozen=True)
class ArrayAnswer(Answer, kind="array"):
    """Any tensor."""

    def fits(self, tensor):
        return True
