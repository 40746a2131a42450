import json

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision.models import get_model
from torchvision.transforms import v2

with safe_open("model.safetensors", framework="pt") as file:
    about = {key: json.loads(text) for key, text in file.metadata().items()}
if about["backbone"].startswith("timm/"):
    from timm import create_model as get_model
name = about["backbone"].removeprefix("timm/")
network = get_model(name, num_classes=len(about["class_names"]), **about["arguments"]).eval()
network.load_state_dict(load_file("model.safetensors"))
how = about["preprocessing"]

values = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(how["mean"], how["std"])]
# READ
images = v2.Compose(values)(image)[None]

with torch.inference_mode():
    probabilities = (network(images)[0] / about["temperature"]).softmax(dim=0)
for k in probabilities.argsort(descending=True)[:5]:
    print(f"{probabilities[k]:.4f} {about['class_names'][k]}")
