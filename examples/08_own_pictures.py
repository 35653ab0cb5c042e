"""Teach the model from a folder of your own pictures, then draw with what it learned.

python examples/08_own_pictures.py [MODEL.safetensors [FOLDER]]
"""

import sys
from pathlib import Path

import fromnoise as fn
from fromnoise.train.own import Session, Wishes

pipe = fn.load(*sys.argv[1:2])
folder = Path(sys.argv[2] if len(sys.argv) > 2 else "pictures")
if not folder.exists():  # none of your own: a few of the model's, each with what it shows beside it
    folder.mkdir()
    for seed, prompt in enumerate(("a red ghost on paper", "a red cat on paper", "a red boat on paper")):
        pipe(prompt, seed=seed).save(folder / f"{seed}.png")
        (folder / f"{seed}.txt").write_text(f"{prompt}, inked")

session = Session(folder, Path("learned"), pipe, Wishes(kind="lora", steps=10, batch=3, rank=4, size=128))
for line in session.report():  # what was found, what is left out, and why
    print(line)
for _ in session.encode():  # every picture once
    pass
task = session.task()
for now in session.train(task):  # stop iterating whenever you like: what was learned is kept
    if now.figures:
        print(f"step {now.step} of {now.of}: loss {now.figures.get('loss', 0):.3f}")
adapter = session.write(task)

pipe = fn.load(*sys.argv[1:2])
pipe.attach(adapter)
print("drawn with what it learned:", *pipe("a red ghost on paper, inked", seed=1).save("inked.png"))
