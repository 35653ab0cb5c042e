"""Start from a picture instead of from pure noise: strength 0 keeps it, strength 1 ignores it.

python examples/02_image_to_image.py [MODEL.safetensors [PICTURE]]
"""

import sys

import fromnoise as fn

pipe = fn.load(*sys.argv[1:2])
if len(sys.argv) > 2:
    start = fn.read_picture(sys.argv[2])  # PNG, JPEG or WebP; scaled and cut to the model's size
else:
    start = pipe("a blue boat in the sea by day", seed=3).pictures[0]

for strength in (0.25, 0.5, 0.75):
    result = pipe("a blue boat in the sea at sunset", picture=start, strength=strength, seed=3)
    print(f"strength {strength}:", *result.save(f"boat-{strength}.png"))
