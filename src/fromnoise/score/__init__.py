"""How often a model draws what it is told to: prompts with known facts, and an oracle that looks."""

from fromnoise.score.classical import ClassicalReader
from fromnoise.score.clip import Clip
from fromnoise.score.keeping import kept
from fromnoise.score.kid import Distance, kid
from fromnoise.score.labels import Label, Labels, agreement, begin_labels, load_labels, save_labels, to_label
from fromnoise.score.oracle import OracleReader, load_oracle, save_oracle
from fromnoise.score.pages import to_markdown
from fromnoise.score.plans import SEEN, TIERS
from fromnoise.score.report import Report, Row, compared
from fromnoise.score.run import Beside, Draw, Progress, Read, Rebuild, Settings, score
from fromnoise.score.stamp import Stamp, check_comparable, plans_digest
from fromnoise.score.tables import Section, Share, kappa, wilson
from fromnoise.score.tiers import SEED, Tier, make_tier, make_tiers, tiers_for
from fromnoise.score.witness import Glance, Witness
from fromnoise.score.witnesses import Audit, Likeness, Memory, Variety

__all__ = [
    "SEED",
    "SEEN",
    "TIERS",
    "Audit",
    "Beside",
    "ClassicalReader",
    "Clip",
    "Distance",
    "Draw",
    "Glance",
    "Label",
    "Labels",
    "Likeness",
    "Memory",
    "OracleReader",
    "Progress",
    "Read",
    "Rebuild",
    "Report",
    "Row",
    "Section",
    "Settings",
    "Share",
    "Stamp",
    "Tier",
    "Variety",
    "Witness",
    "agreement",
    "begin_labels",
    "check_comparable",
    "compared",
    "kappa",
    "kept",
    "kid",
    "load_labels",
    "load_oracle",
    "make_tier",
    "make_tiers",
    "plans_digest",
    "save_labels",
    "save_oracle",
    "score",
    "tiers_for",
    "to_label",
    "to_markdown",
    "wilson",
]
