import json

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2

texts = {"preprocessing": "", "class_names": "", "temperature": ""}
network = torch.export.load("model.pt2", extra_files=texts).module()
about = {key: json.loads(text) for key, text in texts.items()}
how = about["preprocessing"]

values = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(how["mean"], how["std"])]
# READ
images = v2.Compose(values)(image)[None]

with torch.inference_mode():
    probabilities = (network(images)[0] / about["temperature"]).softmax(dim=0)
for k in probabilities.argsort(descending=True)[:5]:
    print(f"{probabilities[k]:.4f} {about['class_names'][k]}")
