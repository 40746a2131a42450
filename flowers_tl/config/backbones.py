"""The backbones by name: torchvision's networks, and how each is cut into stages. Plain data, which knows no PyTorch.

A row is all that another network needs: it makes the choice ``backbone=NAME`` and tells
:mod:`flowers_tl.models.backbone` which family the network is of (``resnet``, ``sequential`` or ``vit``), and of a
sequential one with which of its ``features`` each stage begins.
"""

# He et al. 2015: stem, layer1 to layer4, neck (pooling), head.
# Sandler et al. 2018, Howard et al. 2019, Tan and Le 2019, Liu et al. 2022: stem, stage1 to stage4, neck, head. The neck of
#   MobileNetV3 holds a pretrained Linear, that of ConvNeXt a LayerNorm.
# Iandola et al. 2016: stem, stage1 to stage3, an empty neck, head (a Conv).
# Dosovitskiy et al. 2020: stem (patches, tokens, positions), layer1 to layer12, neck (a LayerNorm), head.
ARCHITECTURES: dict[str, tuple] = {
    "resnet18": ("resnet",),
    "resnet34": ("resnet",),
    "resnet50": ("resnet",),
    "mobilenet_v2": ("sequential", 0, 2, 4, 7, 14),
    "mobilenet_v3_small": ("sequential", 0, 1, 2, 4, 9),
    "mobilenet_v3_large": ("sequential", 0, 2, 4, 7, 13),
    "efficientnet_b0": ("sequential", 0, 2, 3, 4, 6),
    "convnext_tiny": ("sequential", 0, 1, 2, 4, 6),
    "squeezenet1_1": ("sequential", 0, 2, 5, 8),
    "vit_b_16": ("vit",),
}
