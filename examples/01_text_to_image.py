"""A prompt becomes pictures, and each picture says how it was made.

python examples/01_text_to_image.py [MODEL.safetensors]
"""

import sys

import fromnoise as fn

pipe = fn.load(*sys.argv[1:2])  # without an argument: the model that comes with fromnoise
result = pipe("a red lighthouse on an island at sunset", seeds=(1, 2))

paths = result.save("lighthouse-{seed}.png")  # a name that is taken gets a number
print(f"{pipe} drew {len(paths)} pictures in {result.seconds:.1f} s:", *paths)

request = fn.read_request(paths[1])  # from the PNG: prompt, seed, steps, sampler …
again = pipe(request)
print("the second one, drawn again from its own PNG, is the same:", again.pictures[0] == result.pictures[1])
