"""The tables of cards: what EHRs were shown, what was said of it, and which tokens were used up."""

from sqlalchemy import Column, DateTime, ForeignKey, Index, LargeBinary, Table, Text, Uuid

from adapters.db.tables import metadata

_moment = DateTime(timezone=True)

shown_cards = Table(
    "shown_cards",
    metadata,
    Column("card_id", Uuid, primary_key=True),
    Column("prediction_id", Uuid, ForeignKey("predictions.prediction_id"), nullable=False),
    Column("site", Text, nullable=False),
    Column("hook", Text, nullable=False),
    Column("comparison_id", Uuid, ForeignKey("plan_comparisons.comparison_id")),
    Index(None, "prediction_id"),
)

# Written once. What was said follows from the key, so the same said again is no other row.
card_feedback = Table(
    "card_feedback",
    metadata,
    Column("feedback_id", Uuid, primary_key=True),
    Column("card_id", Uuid, ForeignKey("shown_cards.card_id"), nullable=False),
    Column("prediction_id", Uuid, ForeignKey("predictions.prediction_id"), nullable=False),
    Column("verdict", Text, nullable=False),
    Column("given_at", _moment, nullable=False),
    Column("received_at", _moment, nullable=False),
    Column("client", Text, nullable=False),
    Column("reason_system", Text, nullable=False),
    Column("reason_code", Text, nullable=False),
    Column("reason_display", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Index(None, "prediction_id", "given_at"),
)

# Tokens of clients that were used, until nobody would take them any more: by a digest of who made
# them and their own id, so that neither length nor content of those matters.
spent_tokens = Table(
    "spent_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("expires_at", _moment, nullable=False),
    Index(None, "expires_at"),
)
