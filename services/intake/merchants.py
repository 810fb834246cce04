"""Merchants: what they have agreed, put in place by a partner or the platform."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from functools import cache
from urllib.parse import quote
from zoneinfo import available_timezones

from chassis.handler import Emission, Inbound, Step
from contracts.base import format_moment
from contracts.ids import derived, merchant_key
from contracts.notices import TellMerchant
from contracts.orders import DeclareInsolvency, Merchant, MerchantChanged, MerchantProfile, PutMerchant, ReturnInfoAged
from contracts.problems import FieldError, Problem
from contracts.rollouts import ROLLOUTS_KEY, TellOfRollouts
from contracts.topics import INTAKE_COMMANDS, NOTIFICATIONS_COMMANDS
from engine.calendar import zone_of
from services.intake.answers import may_see, refused, repeated, settled, told, wrong
from services.intake.documents import MerchantFile, State, remember

__all__ = ["declare_insolvency", "put_merchant", "remind_return_info"]

_NEARLY_OLD = timedelta(days=335)
"""From a month before its merchant is reminded of it, return information is confirmed by putting it again as it is (CP-05)."""

_NOT_ITS_OWN = "What a merchant has agreed is replaced by the platform or the partner that created it."
_OF_THE_PLATFORM = ("certified_at", "seal_live_at")


def put_merchant(file: MerchantFile | None, inbound: Inbound, command: PutMerchant, known: Collection[str]) -> Step[State]:
    """Replace a merchant's profile, which leaves its desk as it is; `known` are the names of all programmes.

    403 for who is neither partner nor platform, for a partner that was given the merchant and did not create it, and for one
    that sets what only the platform sets (BP-02); 404 for any other that did not create it; 412 for another version than
    `if_match`; 422 for an unknown programme, zone or country."""
    envelope = inbound.envelope
    actor = command.actor
    if actor.role not in ("partner", "platform"):
        return Step(file, (refused(envelope, Problem.forbidden("A merchant is put by its partner or the platform.")),))
    if file is not None and not may_see(actor, file.merchant.created_by):
        problem = Problem.forbidden(_NOT_ITS_OWN) if command.given else Problem.not_found("merchant")
        return Step(file, (refused(envelope, problem),))
    if file is not None and envelope.id in file.commands:
        return Step(file, (repeated(envelope, _href(command.merchant_id)),))
    if stale := Problem.stale(command.if_match, None if file is None else file.merchant.version):
        return Step(file, (refused(envelope, stale),))
    profile = command.profile
    if actor.role == "partner":
        before = file.merchant if file is not None else None
        reserved = {name: getattr(before, name, None) for name in _OF_THE_PLATFORM}
        for name, value in reserved.items():
            # Leaving it out, or sending back what was read, is no attempt to change it.
            if getattr(profile, name) not in (None, value):
                return Step(file, (refused(envelope, Problem.forbidden(f"Only the platform sets {name}; leave it out.")),))
        profile = profile.model_copy(update=reserved)
    timezone = _timezone(profile)
    if errors := [*_unknown_programmes(profile, known), *([timezone] if isinstance(timezone, FieldError) else [])]:
        return Step(file, (refused(envelope, Problem.invalid_input(*errors)),))
    merchant = Merchant.model_validate(
        {
            **profile.__dict__,
            "timezone": timezone,
            "merchant_id": command.merchant_id,
            "created_by": actor.id if file is None else file.merchant.created_by,
            "insolvent_at": None if file is None else file.merchant.insolvent_at,
            "return_info_at": _confirmed_at(file, envelope.time),
            "return_info_reminded_at": None if file is None else file.merchant.return_info_reminded_at,
            "version": 1 if file is None else file.merchant.version,
        }
    )
    if file is None:
        new = MerchantFile(merchant=merchant, commands=(envelope.id,))
        return Step(new, (settled(envelope, MerchantChanged(merchant=merchant)), _ask_of_rollouts(merchant, envelope.time)))
    if merchant == file.merchant:
        return Step(file, (repeated(envelope, _href(command.merchant_id)),))
    merchant = merchant.model_copy(update={"version": file.merchant.version + 1, "return_info_at": envelope.time})
    after = file.model_copy(update={"merchant": merchant, "commands": remember(file.commands, envelope.id)})
    changed = settled(envelope, MerchantChanged(merchant=merchant, desk=file.desk))
    if (merchant.programmes, merchant.locale) == (file.merchant.programmes, file.merchant.locale):
        return Step(after, (changed,))
    return Step(after, (changed, _ask_of_rollouts(merchant, envelope.time)))


def _ask_of_rollouts(merchant: Merchant, at: datetime) -> Emission:
    """Have a merchant told of what was announced before it was meant (BP-24)."""
    command = TellOfRollouts(merchant_id=merchant.merchant_id)
    return Emission(INTAKE_COMMANDS, command, at, sequenced=False, key=ROLLOUTS_KEY)


def _confirmed_at(file: MerchantFile | None, at: datetime) -> datetime:
    """When the return information counts as confirmed by a PUT of what already is: that changes nothing, unless it is old."""
    known = None if file is None else file.merchant.return_info_at
    return at if known is None or at >= known + _NEARLY_OLD else known


def remind_return_info(file: MerchantFile | None, inbound: Inbound, command: ReturnInfoAged) -> Step[State]:
    """Remind a merchant once a year of what its buyers are shown and nobody has confirmed since (CP-05)."""
    now = inbound.envelope.time
    if file is None or file.merchant.return_policy_url is None or file.merchant.return_info_at != command.since:
        return Step(file)
    reminded_at = file.merchant.return_info_reminded_at
    if reminded_at is not None and now < reminded_at + _NEARLY_OLD:
        return Step(file)
    merchant = file.merchant.model_copy(update={"return_info_reminded_at": now, "version": file.merchant.version + 1})
    about = {"since": format_moment(command.since), "url": file.merchant.return_policy_url}
    mail = Emission(
        NOTIFICATIONS_COMMANDS,
        TellMerchant(merchant_id=merchant.merchant_id, notice="return_info_reminder", about=about),
        now,
        sequenced=False,
        key=merchant_key(merchant.merchant_id),
        id=derived("return-info", merchant.merchant_id, format_moment(now)),
    )
    after = file.model_copy(update={"merchant": merchant})
    return Step(after, (mail, told(inbound.envelope, MerchantChanged(merchant=merchant, desk=file.desk))))


def declare_insolvency(file: MerchantFile | None, inbound: Inbound, command: DeclareInsolvency) -> Step[State]:
    """Let the merchant's protected buyers claim, or take that back (BP-25). 403 for who is not the platform, 404 for a merchant
    that is not there."""
    envelope = inbound.envelope
    if command.actor.role != "platform":
        return Step(file, (refused(envelope, Problem.forbidden("Insolvency is declared by the platform.")),))
    if file is None:
        return Step(file, (refused(envelope, Problem.not_found("merchant")),))
    merchant = file.merchant
    if envelope.id in file.commands or command.insolvent == (merchant.insolvent_at is not None):
        return Step(file, (repeated(envelope, _href(merchant.merchant_id)),))
    declared = {"insolvent_at": envelope.time if command.insolvent else None, "version": merchant.version + 1}
    merchant = merchant.model_copy(update=declared)
    after = file.model_copy(update={"merchant": merchant, "commands": remember(file.commands, envelope.id)})
    return Step(after, (settled(envelope, MerchantChanged(merchant=merchant, desk=file.desk)),))


def _href(merchant_id: str) -> str:
    return f"/v1/merchants/{quote(merchant_id, safe='')}"


def _unknown_programmes(profile: MerchantProfile, known: Collection[str]) -> Iterator[FieldError]:
    for index, programme in enumerate(profile.programmes):
        if programme not in known:
            yield wrong(f"/programmes/{index}", f"There is no programme {programme}; use one of {', '.join(known)}.")
        elif programme in profile.programmes[:index]:
            yield wrong(f"/programmes/{index}", f"{programme} is named before; name each programme once.")


def _timezone(profile: MerchantProfile) -> str | FieldError:
    if profile.timezone is not None:
        if profile.timezone in _zones():
            return profile.timezone
        return wrong("/timezone", f"{profile.timezone} is no IANA time zone; use a name such as Europe/Berlin.")
    try:
        return zone_of(profile.country)
    except LookupError:
        return wrong("/country", f"{profile.country} is no country of ISO 3166 with a time zone; give its code or `timezone`.")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
