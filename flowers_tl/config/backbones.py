"""The choices of ``backbone=``, beside ``timm/NAME``: torchvision's classification networks. Plain data, which knows no PyTorch."""

# The first ones that there were.
FIRST = (
    "resnet18", "resnet34", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0",
    "convnext_tiny", "squeezenet1_1", "vit_b_16",
)  # fmt: skip
# By family, which has a paper, and behind it what tells its networks apart.
FAMILIES = {
    "alexnet": ("",),
    "convnext_": ("tiny", "small", "base", "large"),
    "densenet": ("121", "161", "169", "201"),
    "efficientnet_b": ("0", "1", "2", "3", "4", "5", "6", "7"),
    "efficientnet_v2_": ("s", "m", "l"),
    "googlenet": ("",),
    "inception_v3": ("",),
    "maxvit_t": ("",),
    "mnasnet": ("0_5", "0_75", "1_0", "1_3"),
    "mobilenet_v2": ("",),
    "mobilenet_v3_": ("small", "large"),
    "regnet_x_": ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf"),
    "regnet_y_": ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf", "128gf"),
    "resnet": ("18", "34", "50", "101", "152"),
    "resnext": ("50_32x4d", "101_32x8d", "101_64x4d"),
    "shufflenet_v2_": ("x0_5", "x1_0", "x1_5", "x2_0"),
    "squeezenet": ("1_0", "1_1"),
    "swin_": ("t", "s", "b"),
    "swin_v2_": ("t", "s", "b"),
    "vgg": ("11", "11_bn", "13", "13_bn", "16", "16_bn", "19", "19_bn"),
    "vit_": ("b_16", "b_32", "l_16", "l_32", "h_14"),
    "wide_resnet": ("50_2", "101_2"),
}
NETWORKS = tuple(family + rest for family, names in FAMILIES.items() for rest in names)
