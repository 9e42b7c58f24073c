"""Subscribe at an EHR, renew, ask how it is, and end it: what an operator does by hand."""

from dataclasses import dataclass
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import RejectedError
from clinical.services.following import Following
from clinical.services.ports import Clock, Identities, Made, OpenUnitOfWork, SubscriptionServer
from clinical.subscription.plan import SubscriptionPlan, subscription_id_of
from clinical.subscription.state import SubscriptionState


class UnknownSubscriptionError(RejectedError):
    """The sites file has no subscription of this site and name."""

    code = "subscription.unknown"


class NotOursError(RejectedError):
    """The EHR's people make and keep this subscription: we neither create, renew nor remove it."""

    code = "subscription.not_ours"


class NotSubscribedError(RejectedError):
    """The EHR holds no such subscription yet: create it first."""

    code = "subscription.not_made"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribingService:
    """Makes, renews and removes subscriptions, each written into the audit log."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    following: Following
    server: SubscriptionServer

    def states(self) -> dict[UUID, tuple[SubscriptionState, int]]:
        """Every subscription that was ever heard of, with how many of its records wait to be read."""
        with self.open_unit_of_work() as uow:
            return {
                each.subscription_id: (each, uow.subscriptions.num_unread(each.subscription_id))
                for each in uow.subscriptions.all()
            }

    def create(self, site: str, name: str, by: str) -> Made:
        """Make it at the EHR, or bring what is there up to date.

        Raises:
            UnknownSubscriptionError, NotOursError, and what the EHR refuses.
        """
        self._ours(site, name)
        # Known here before the EHR shakes hands.
        with self.open_unit_of_work() as uow:
            uow.subscriptions.hold(site, name, self.clock.now())
            uow.commit()
        made = self.server.create(site, name)
        act = Act(actor=by, at=self.clock.now())
        with self.open_unit_of_work() as uow:
            before = uow.subscriptions.hold(site, name, act.at)
            after = before.made(
                made.ehr_id, made.ends_at, act.at, is_new=not made.was_there
            ).succeeded()
            uow.subscriptions.save(after)
            self.following.note_move(uow, before, after, act, how="created")
            uow.commit()
        return made

    def status(self, site: str, name: str, by: str) -> SubscriptionState:
        """Ask the EHR how it is, now; raises UnknownSubscriptionError, NotSubscribedError."""
        plan = self._plan(site, name)
        told = self.server.status(site, name, self._ehr_id(plan))
        act = Act(actor=by, at=self.clock.now())
        with self.open_unit_of_work() as uow:
            before = uow.subscriptions.hold(site, name, act.at)
            after = before.told(told, plan, act.at).succeeded()
            uow.subscriptions.save(after)
            self.following.note_move(uow, before, after, act, how="asked")
            uow.commit()
        return after

    def renew(self, site: str, name: str, by: str) -> SubscriptionState:
        """Write it anew at the EHR, which shakes hands again; raises as `create`, NotSubscribedError."""
        plan = self._ours(site, name)
        ends_at = self.server.renew(site, name, self._ehr_id(plan))
        act = Act(actor=by, at=self.clock.now())
        with self.open_unit_of_work() as uow:
            before = uow.subscriptions.hold(site, name, act.at)
            after = before.requested(act.at).lasting(ends_at, act.at).succeeded()
            uow.subscriptions.save(after)
            self.following.note_move(uow, before, after, act, how="renewed")
            uow.commit()
        return after

    def remove(self, site: str, name: str, by: str) -> None:
        """Delete it at the EHR, and forget where it stood; raises as `renew`."""
        plan = self._ours(site, name)
        self.server.remove(site, name, self._ehr_id(plan))
        act = Act(actor=by, at=self.clock.now())
        with self.open_unit_of_work() as uow:
            uow.subscriptions.hold(site, name, act.at)
            uow.subscriptions.forget(plan.subscription_id)
            uow.audit_log.append(
                act.entry(
                    self.identities.new(),
                    AuditKind.SUBSCRIPTION_MOVED,
                    subscription=plan.subscription_id,
                    how="removed",
                    standing="removed",
                )
            )
            uow.commit()

    def _plan(self, site: str, name: str) -> SubscriptionPlan:
        plan = self.following.plans.get(subscription_id_of(site, name))
        if plan is None:
            raise UnknownSubscriptionError("the sites file has no subscription of this name")
        return plan

    def _ours(self, site: str, name: str) -> SubscriptionPlan:
        plan = self._plan(site, name)
        if not plan.is_ours:
            raise NotOursError("the EHR's people make this subscription, says the sites file")
        return plan

    def _ehr_id(self, plan: SubscriptionPlan) -> str:
        with self.open_unit_of_work() as uow:
            state = uow.subscriptions.find(plan.subscription_id)
        if state is None or not state.ehr_id:
            raise NotSubscribedError("the EHR holds no such subscription yet: create it first")
        return state.ehr_id
