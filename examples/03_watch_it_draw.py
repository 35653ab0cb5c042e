"""A run is a stream of events: show progress, keep what the network imagines, stop when you like.

python examples/03_watch_it_draw.py [MODEL.safetensors]
"""

import sys

import fromnoise as fn
from fromnoise.events import Denoised, Encoded, Finished
from fromnoise.images.pixels import to_image

pipe = fn.load(*sys.argv[1:2])
frames = []

for event in pipe.stream(fn.GenerateRequest(prompt="a purple whale in the sea at night")):
    match event:
        case Encoded():
            print(f"read {event.tokens} tokens, of {event.window} that fit")
        case Denoised():
            print(f"step {event.step} of {event.of}: noise {event.sigma:.3g} times the signal is left")
            frames.append(to_image(event.preview()))  # costs something only because we ask; `break` cancels
        case Finished():
            frames += event.result.images

size = [4 * side for side in frames[-1].size]
first, *rest = (frame.resize(size) for frame in frames)
first.save("whale.gif", save_all=True, append_images=rest, duration=150)
print("whale.gif")
