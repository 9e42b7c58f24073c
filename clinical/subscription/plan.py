"""What a site wants of a subscription, and what of it the service has to know to follow it."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid5

_NAMESPACE = UUID("6c0d6a52-6d3c-4c0e-9e0e-0b6f2f0e9f57")


def subscription_id_of(site: str, name: str) -> UUID:
    """Our identity of a site's subscription: the same in every process, from its two names."""
    return uuid5(_NAMESPACE, f"{site}/{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionPlan:
    """How a subscription is followed.

    `has_running_counters` is off where event numbers begin anew in each notification: then only
    silence, `$status` and queries tell of what was lost. `queries` are searches that together find
    whatever the subscription tells of, such as `Observation?category=laboratory`.
    """

    site: str
    name: str
    queries: tuple[str, ...] = ()
    has_running_counters: bool = True
    has_unique_event_ids: bool = False
    """Whether the id of an event is the same in every notification, and no other event's."""
    patience: timedelta = timedelta(seconds=60)
    """How long a missing event may still be on its way."""
    heartbeat: timedelta | None = None
    """After twice as long without a word the EHR is asked how the subscription is."""
    is_silence_usual: bool = False
    """Whether there are no heartbeats: then it is only asked how the subscription is."""
    query_pause: timedelta = timedelta(seconds=30)
    """At least so long between two rounds of queries, however many notifications ask for one."""
    query_overlap: timedelta = timedelta(minutes=5)
    """Queries reach so much further back than need be: clocks differ, and stores lag."""
    query_period: timedelta | None = None
    """Queries are made so often even when nothing seems to be missing."""
    lifetime: timedelta | None = None
    """How long the subscription is asked for; renewed when a quarter of it is left."""
    is_ours: bool = True
    """Whether we make it, renew it, and set it back to requested after an error; else the EHR's people do."""
    max_reads: int = 100
    """At most so many records are read in one round, and a round begins at most every `read_pause`."""
    read_pause: timedelta = timedelta(seconds=5)

    @property
    def subscription_id(self) -> UUID:
        """Our identity of it."""
        return subscription_id_of(self.site, self.name)
