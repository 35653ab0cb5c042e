"""Your own pictures: a folder of them, in whatever layout, becomes batches that a network learns from.

open_pictures -> take_census, Buckets.of, bucket_table -> LatentCache.fill -> Lessons.at(step), FrozenText
"""

from fromnoise.train.pictures.buckets import Buckets, bucket_table
from fromnoise.train.pictures.census import Census, take_census
from fromnoise.train.pictures.examples import Example, Layout, Reason, Remark, Skip
from fromnoise.train.pictures.frozen_text import FrozenText
from fromnoise.train.pictures.latent_cache import MOMENTS, LatentCache
from fromnoise.train.pictures.lessons import Lesson, Lessons
from fromnoise.train.pictures.opening import Pictures, open_pictures
from fromnoise.train.pictures.phrasing import Phrasing

__all__ = [
    "MOMENTS",
    "Buckets",
    "Census",
    "Example",
    "FrozenText",
    "LatentCache",
    "Layout",
    "Lesson",
    "Lessons",
    "Phrasing",
    "Pictures",
    "Reason",
    "Remark",
    "Skip",
    "bucket_table",
    "open_pictures",
    "take_census",
]
