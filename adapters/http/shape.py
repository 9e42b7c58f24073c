"""What all published shapes have in common."""

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """A published shape: foreign fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
