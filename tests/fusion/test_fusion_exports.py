"""Every fusion layer in the formats that its contract leaves out."""

import pytest
import test_attention_fusion
import test_early_fusion
import test_fusion_contract
import test_intermediate_fusion
import test_late_fusions
from quick import QUICK

from mmzoo.export.testing.fusion_checks import check_fusion_exports
from mmzoo.export.testing.layer_checks import FORMATS

LARGE = ("CoAttention", "MultimodalTransformer")
CASES = {
    **{n: (make, None) for n, (make, *_) in test_fusion_contract.CASES.items()},
    **{n: (make, widths) for n, (make, widths, _) in test_early_fusion.ALL.items()},
    **{n: (make, None) for n, (make, _) in test_late_fusions.ALL.items()},
    **{n: (make, None) for n, make in test_intermediate_fusion.MAKE.items()},
    **{n: (make, None) for n, make in test_attention_fusion.LAYER.items() if n not in LARGE},
    **{n: (test_attention_fusion.ONE_LAYER[n], None) for n in LARGE},
}


@pytest.mark.slow
@pytest.mark.parametrize("format", [name for name in FORMATS if name not in QUICK])
@pytest.mark.parametrize("name", CASES)
def test_exports(tmp_path, name, format):
    make, widths = CASES[name]
    check_fusion_exports(make, folder=tmp_path, widths=widths, formats=(format,))


def test_every_layer_is_exported():
    assert len(CASES) >= 20
