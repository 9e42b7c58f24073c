"""What a site's EHR is told after a clinician agreed, and in which form. Off unless turned on."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Tellable = Literal["RiskAssessment", "Task", "Flag", "Communication"]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


class WriteBackChoices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`resources` are what is told; the write-back is known by the RiskAssessment, else by the first.

    `probability` is the form of a RiskAssessment's probability; both are percentages, as R4's invariant
    ras-2 has it. `flag_at` is the estimate (a fraction) from which a Flag is raised. `match` is the
    search by which the server finds what it holds of ours. `style` `auto`: a transaction where the
    server's CapabilityStatement offers one, else one resource after the other. Some servers take more
    than their statement lists (sekmet-fhir 0.1.1: RiskAssessment): then do not trust it. `takes_back`:
    what was told and is recalled, or rested on what the EHR itself withdrew, is marked as entered in
    error, without waiting for somebody to decide.
    """

    is_on: bool = False
    resources: Annotated[tuple[Tellable, ...], Meta(min_length=1)] = ("RiskAssessment",)
    has_provenance: bool = True
    probability: Literal["range", "decimal"] = "range"
    flag_at: Fraction = 0.2
    match: Literal["identifier", "_tag"] = "identifier"
    trusts_statement: bool = True
    takes_back: bool = False
    style: Literal["auto", "transaction", "single"] = "auto"
