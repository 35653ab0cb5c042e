"""How often a model draws what it is told to: prompts with known facts, and an oracle that looks."""

from fromnoise.score.oracle import OracleReader, load_oracle, save_oracle
from fromnoise.score.plans import SEEN, TIERS
from fromnoise.score.report import Report, Row, Share, wilson
from fromnoise.score.run import Draw, Progress, Read, Rebuild, Settings, score
from fromnoise.score.tiers import Tier, make_tier, make_tiers, tiers_for

__all__ = [
    "SEEN",
    "TIERS",
    "Draw",
    "OracleReader",
    "Progress",
    "Read",
    "Rebuild",
    "Report",
    "Row",
    "Settings",
    "Share",
    "Tier",
    "load_oracle",
    "make_tier",
    "make_tiers",
    "save_oracle",
    "score",
    "tiers_for",
    "wilson",
]
