import subprocess
import sys

import torchvision
from torchvision.models import list_models

from flowers_tl.config.backbones import FIRST, NETWORKS


def test_the_names_can_be_read_without_pytorch():
    code = "import sys, flowers_tl.config.backbones; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_they_are_all_that_torchvision_lists():
    assert sorted(NETWORKS) == list_models(module=torchvision.models)
    assert {*FIRST} <= {*NETWORKS}
