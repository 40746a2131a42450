import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

network = onnxruntime.InferenceSession("model.onnx")
about = {key: json.loads(text) for key, text in network.get_modelmeta().custom_metadata_map.items()}
how = about["preprocessing"]

# READ
short, side = min(image.size), how["crop"]
image = image.resize([how["resize"] * length // short for length in image.size], Image.Resampling.BILINEAR)
left, top = (round((length - side) / 2) for length in image.size)
pixels = np.asarray(image.crop((left, top, left + side, top + side))) / 255
images = ((pixels - how["mean"]) / how["std"]).transpose(2, 0, 1)[None].astype(np.float32)

(logits,) = network.run(["logits"], {"pictures": images})
exponentials = np.exp((logits[0] - logits[0].max()) / about["temperature"])
probabilities = exponentials / exponentials.sum()
for k in probabilities.argsort()[::-1][:5]:
    print(f"{probabilities[k]:.4f} {about['class_names'][k]}")
