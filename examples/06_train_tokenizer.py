"""Learn a vocabulary from captions, then cut sentences into its tokens.

python examples/06_train_tokenizer.py
"""

from fromnoise.text import Tokenizer
from fromnoise.world import sample_caption, sample_scene, scene_seed

scenes = [sample_scene(scene_seed(0, index)) for index in range(1000)]
captions = [sample_caption(scene, seed) for scene in scenes for seed in range(2)]
print("a caption:", captions[0])

tokenizer = Tokenizer.train(captions, size=1024, context=32)
print(f"{len(captions)} captions gave {len(tokenizer.merges)} merges, the first: {tokenizer.merges[:4]}")

for text in ("a red lighthouse at sunset", "a red skyscraper", "naïve 🦀"):
    ids = tokenizer.encode(text)  # words it never saw fall into pieces, in the end into bytes
    print(f"{text!r}: {len(ids)} tokens {ids} -> {tokenizer.decode(ids)!r}")

(window,) = tokenizer("a red boat").ids  # what the text encoder is shown: start, text, end, padding
print(f"{len(window)} ids:", window)

tokenizer.save("vocabulary.json")
assert Tokenizer.load("vocabulary.json").encode("a red boat") == tokenizer.encode("a red boat")
