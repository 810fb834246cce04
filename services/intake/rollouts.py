"""Roll-outs (BP-24): which version of a programme is in force for whom from when; made, announced, opted in to early."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from chassis.handler import Emission, Inbound, Step
from contracts.base import format_moment
from contracts.ids import derived, merchant_key
from contracts.notices import TellMerchant
from contracts.orders import Merchant
from contracts.problems import FieldError, Problem
from contracts.rollouts import (
    ROLLOUTS_KEY,
    AnnounceRollout,
    KeptRollout,
    MakeRollout,
    MerchantOptedIn,
    OptIn,
    RolloutAnnounced,
    RolloutContent,
    RolloutMade,
    TellOfRollouts,
)
from contracts.topics import INTAKE_COMMANDS, NOTIFICATIONS_COMMANDS
from engine.programmes import Programmes, in_language, meant_for
from services.intake.answers import may_see, refused, repeated, settled, told, wrong
from services.intake.context import Context
from services.intake.documents import RolloutTable, State, as_rollout, remember

__all__ = ["change_rollouts", "concerns"]

MOST_ROLLOUTS = 500
"""Every report asks them all; and a document holds only so much."""
MOST_OPTED_IN = 50_000


def concerns(rollout: KeptRollout, merchant: Merchant) -> bool:
    """Whether a roll-out is meant for a merchant and it offers the programme."""
    return rollout.programme in merchant.programmes and meant_for(
        as_rollout(rollout, {}), merchant.merchant_id, merchant.locale
    )


def change_rollouts(
    table: RolloutTable | None,
    inbound: Inbound,
    command: MakeRollout | OptIn | AnnounceRollout | TellOfRollouts,
    programmes: Programmes,
    context: Context,
) -> Step[State]:
    """Make a roll-out (the platform; 422 for a version that there is not, a merchant that does not offer it, a moment that is
    past), opt in (404 for a merchant that is not the caller's, 422 for a roll-out that is not meant for it or in force
    already), tell a page of merchants, or one that was not meant yet."""
    known = table or RolloutTable()
    if isinstance(command, TellOfRollouts):
        return Step(table, _missed(known, command, programmes, context, inbound.envelope.time))
    if isinstance(command, AnnounceRollout):
        return _announce(table, known, inbound, command, programmes, context)
    if inbound.envelope.id in known.commands:
        return Step(table, (repeated(inbound.envelope, _href(command)),))
    if isinstance(command, MakeRollout):
        return _make(table, known, inbound, command, programmes, context)
    return _opt_in(table, known, inbound, command, context)


def _href(command: MakeRollout | OptIn) -> str:
    return f"/v1/rollouts/{command.rollout_id}"


def _make(
    table: RolloutTable | None,
    known: RolloutTable,
    inbound: Inbound,
    command: MakeRollout,
    programmes: Programmes,
    context: Context,
) -> Step[State]:
    envelope, content = inbound.envelope, command.content
    if command.actor.role != "platform":
        return Step(table, (refused(envelope, Problem.forbidden("Roll-outs are the platform's.")),))
    if errors := tuple(_misfits(content, envelope.time, programmes, context.merchants)):
        return Step(table, (refused(envelope, Problem.invalid_input(*errors)),))
    if len(known.rollouts) >= MOST_ROLLOUTS:
        return Step(table, (refused(envelope, _full(f"At most {MOST_ROLLOUTS} roll-outs are kept.")),))
    rollout = KeptRollout(
        **dict(content),
        rollout_id=command.rollout_id,
        made_at=envelope.time,
        announce_at=max(envelope.time, content.effective_at - timedelta(days=content.announce_days)),
    )
    update = {"rollouts": (*known.rollouts, rollout), "commands": remember(known.commands, envelope.id)}
    return Step(known.model_copy(update=update), (settled(envelope, RolloutMade(rollout=rollout)),))


def _misfits(
    content: RolloutContent, now: datetime, programmes: Programmes, merchants: Mapping[str, Merchant]
) -> Iterator[FieldError]:
    if content.programme not in programmes.known():
        yield wrong("/programme", f"There is no programme {content.programme}; use one of {', '.join(programmes.known())}.")
    elif content.version not in (versions := [each.version for each in programmes.versions(content.programme)]):
        yield wrong("/version", f"{content.programme} has the versions {', '.join(map(str, versions))}.")
    if content.effective_at < now:
        yield wrong("/effective_at", f"It is {format_moment(now)} already; a roll-out does not reach back.")
    for index, merchant_id in enumerate(content.merchants or ()):
        merchant = merchants.get(merchant_id)
        if merchant is None:
            yield wrong(f"/merchants/{index}", f"There is no merchant {merchant_id}.")
        elif content.programme not in merchant.programmes:
            yield wrong(f"/merchants/{index}", f"{merchant_id} does not offer {content.programme}.")


def _opt_in(table: RolloutTable | None, known: RolloutTable, inbound: Inbound, command: OptIn, context: Context) -> Step[State]:
    envelope, now = inbound.envelope, inbound.envelope.time
    merchant = context.merchants.get(command.merchant_id)
    if command.actor.role not in ("platform", "partner", "merchant"):
        return Step(table, (refused(envelope, Problem.forbidden("A merchant, its partner or the platform opts in.")),))
    if merchant is None or not may_see(command.actor, merchant.created_by, command.given):
        return Step(table, (refused(envelope, Problem.not_found("merchant")),))
    rollout = known.get(command.rollout_id)
    chosen = known.opted_in.get(command.rollout_id, {})
    since = now if command.since is None else command.since
    problem: FieldError | None = None
    if rollout is None or not concerns(rollout, merchant):
        problem = wrong("/rollout_id", f"There is no such roll-out for {command.merchant_id}.")
    elif command.merchant_id in chosen and chosen[command.merchant_id] <= now:
        return Step(table, (repeated(envelope, _href(command)),))
    elif rollout.effective_at <= now:
        problem = wrong("/rollout_id", f"It is in force since {format_moment(rollout.effective_at)} anyway.")
    elif since < now:
        problem = wrong("/from", f"It is {format_moment(now)} already; an opt-in does not reach back.")
    elif since >= rollout.effective_at:
        problem = wrong(
            "/from", f"From {format_moment(rollout.effective_at)} on it is in force anyway; give an earlier moment."
        )
    elif command.merchant_id not in chosen and sum(map(len, known.opted_in.values())) >= MOST_OPTED_IN:
        return Step(table, (refused(envelope, _full(f"At most {MOST_OPTED_IN} opt-ins are kept.")),))
    if problem is not None:
        return Step(table, (refused(envelope, Problem.invalid_input(problem)),))
    update = {
        "opted_in": {**known.opted_in, command.rollout_id: {**chosen, command.merchant_id: since}},
        "commands": remember(known.commands, envelope.id),
    }
    event = MerchantOptedIn(rollout_id=command.rollout_id, merchant_id=command.merchant_id, since=since, at=now)
    return Step(known.model_copy(update=update), (settled(envelope, event),))


def _announce(
    table: RolloutTable | None,
    known: RolloutTable,
    inbound: Inbound,
    command: AnnounceRollout,
    programmes: Programmes,
    context: Context,
) -> Step[State]:
    """Tell the next page of merchants, and go on after the last of them; a repeated page tells the same ones under the same
    ids. Who has it already by opting in needs no announcement."""
    rollout, now = known.get(command.rollout_id), inbound.envelope.time
    if rollout is None or rollout.announced_at is not None:
        return Step(table)
    page = context.pages.get(inbound.envelope.id)
    if page is None:  # the roll-out was made in this very batch, after its pages were looked up
        again = Emission(INTAKE_COMMANDS, command, now, sequenced=False, key=ROLLOUTS_KEY)
        return Step(table, (again,))
    mails = tuple(
        _mail(rollout, merchant, programmes, now) for merchant in page.merchants if _awaits(known, rollout, merchant, now)
    )
    if rollout.rollout_id not in known.begun:
        known = known.model_copy(update={"begun": (*known.begun, rollout.rollout_id)})
    if page.more:
        go_on = AnnounceRollout(rollout_id=rollout.rollout_id, after=page.merchants[-1].merchant_id)
        return Step(known, (*mails, Emission(INTAKE_COMMANDS, go_on, now, sequenced=False, key=ROLLOUTS_KEY)))
    done = tuple(
        each.model_copy(update={"announced_at": now}) if each.rollout_id == rollout.rollout_id else each
        for each in known.rollouts
    )
    event = RolloutAnnounced(rollout_id=rollout.rollout_id, at=now)
    return Step(known.model_copy(update={"rollouts": done}), (*mails, told(inbound.envelope, event)))


def _awaits(known: RolloutTable, rollout: KeptRollout, merchant: Merchant, now: datetime) -> bool:
    """Whether a roll-out is still to come for a merchant that it is meant for."""
    chosen = known.opted_in.get(rollout.rollout_id, {})
    return concerns(rollout, merchant) and chosen.get(merchant.merchant_id, rollout.effective_at) > now


def _missed(
    known: RolloutTable, command: TellOfRollouts, programmes: Programmes, context: Context, now: datetime
) -> tuple[Emission, ...]:
    """The announcements that have begun without a merchant: their pages may have been read before it was meant. Those that are
    to come find it. Who was told hears nothing twice: the ids are the same."""
    begun = [each for each in known.rollouts if each.announced_at is not None or each.rollout_id in known.begun]
    merchant = context.merchants.get(command.merchant_id)
    if merchant is None:
        return ()
    return tuple(_mail(rollout, merchant, programmes, now) for rollout in begun if _awaits(known, rollout, merchant, now))


def _mail(rollout: KeptRollout, merchant: Merchant, programmes: Programmes, now: datetime) -> Emission:
    programme = programmes.get(rollout.programme, rollout.version)
    command = TellMerchant(
        merchant_id=merchant.merchant_id,
        notice="policy_change",
        about={
            "programme": in_language(programme.label, merchant.locale),
            "version": str(rollout.version),
            "effective_at": format_moment(rollout.effective_at),
        },
    )
    return Emission(
        NOTIFICATIONS_COMMANDS,
        command,
        now,
        sequenced=False,
        key=merchant_key(merchant.merchant_id),
        id=derived("policy-change", rollout.rollout_id, merchant.merchant_id),
    )


def _full(detail: str) -> Problem:
    return Problem(type="/problems/too-many-rollouts", title="There are too many roll-outs", status=409, detail=detail)
