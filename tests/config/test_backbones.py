"""The table of backbones is plain data, from which torchvision's networks can be cut into stages."""

import subprocess
import sys

import pytest
import torch
from torchvision.models import get_model

from flowers_tl.config.backbones import ARCHITECTURES


def test_the_table_can_be_read_without_pytorch():
    code = "import sys, flowers_tl.config.backbones; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stages_begin_with_the_first_layer_and_none_is_empty(name):
    with torch.device("meta"):
        network = get_model(name)
    family, *starts = ARCHITECTURES[name]
    assert (family == "sequential") == hasattr(network, "features")
    if starts:
        assert starts[0] == 0
        assert starts == sorted(set(starts))
        assert starts[-1] < len(network.features)
