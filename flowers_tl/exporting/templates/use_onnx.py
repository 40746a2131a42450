import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

network = onnxruntime.InferenceSession("model.onnx")
about = {key: json.loads(text) for key, text in network.get_modelmeta().custom_metadata_map.items()}
how = about["preprocessing"]

# READ
pixels = np.asarray(image) / 255
images = ((pixels - how["mean"]) / how["std"]).transpose(2, 0, 1)[None].astype(np.float32)

(logits,) = network.run(["logits"], {"pictures": images})
exponentials = np.exp((logits[0] - logits[0].max()) / about["temperature"])
probabilities = exponentials / exponentials.sum()
for k in probabilities.argsort()[::-1][:5]:
    print(f"{probabilities[k]:.4f} {about['class_names'][k]}")
