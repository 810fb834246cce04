"""What a row of a programme's table writes into the refund ledger: promises, what flows, and what is let go of (NX-06)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from contracts.cases import Executor, LedgerEntry
from contracts.ids import child_id
from contracts.money import Money
from engine.casefile import executed_amount, executions, open_reservations, payer_of, promises_of, unproved
from engine.guards import Situation
from engine.programmes import Transition

__all__ = ["entries_of_row"]


def entries_of_row(now: Situation, row: Transition, values: Mapping[str, Any], cause: str) -> tuple[LedgerEntry, ...]:
    """The ledger entries of a row: reverse, release, reserve, execute, flow. Nothing is written about a zero amount. `values`
    are those of the action's form, `cause` is what the entries' ids are made from.

    Money that nobody has to agree to any more names the decision it comes from: what the platform pays, and what ends the
    case. What a merchant answers and the buyer may still react to is no decision."""
    effects = row.effects
    if not (effects.reverse or effects.release or effects.reserve or effects.execute or effects.flow):
        return ()
    page = _Page(now, cause)
    promised = list(promises_of(now.file, now.case.case_id))
    if effects.reverse:
        promised += page.reverse(effects.reverse)
    if effects.release or effects.reserve:
        page.release(promised)
        promised = []
    if effects.reserve:
        decided = effects.reserve.executor == "platform" or row.outcome is not None
        promised = page.reserve(_amount(now, effects.reserve.amount, values), effects.reserve.executor, decided=decided)
    if effects.execute:
        page.execute(promised, effects.execute)
    if effects.flow:
        page.flow(effects.flow.executor)
    return tuple(page.entries)


def _amount(now: Situation, source: str, values: Mapping[str, Any]) -> Money:
    if source == "proposal" and now.case.proposal is not None:
        return now.case.proposal.refund_amount
    return values["refund_amount"]


@dataclass(slots=True)
class _Page:
    """The entries that one row writes, in order, behind what the ledger has already."""

    now: Situation
    cause: str
    entries: list[LedgerEntry] = field(default_factory=list)

    def reverse(self, confirmed_by: str) -> list[LedgerEntry]:
        """What was taken to have flowed has not: it is promised again."""
        promised: list[LedgerEntry] = []
        for entry in self._reversible(confirmed_by):
            self.release([entry])
            promised.append(self._write("reserved", entry.amount, entry.executor, entry.decision_id))
        return promised

    def release(self, promised: Iterable[LedgerEntry]) -> None:
        """Let go of what was promised."""
        for entry in promised:
            self._write("released", entry.amount, entry.executor, entry.decision_id, settles=entry.entry_id)

    def reserve(self, amount: Money, executor: Executor, *, decided: bool) -> list[LedgerEntry]:
        """Promise an amount; `decided` where nobody has to agree to it any more."""
        if not amount.amount:
            return []
        order = self.now.file.order
        decision_id = child_id("dec", order.order_id, self.cause) if decided else None
        return [self._write("reserved", amount, payer_of(order, executor), decision_id)]

    def execute(self, promised: Iterable[LedgerEntry], confirmed_by: str) -> None:
        """What was promised has flowed; presumed to have, it comes to no more than was left."""
        for entry in promised:
            settled = {"settles": entry.entry_id, "confirmed_by": confirmed_by}
            left = self._left(self.entries)
            if entry.amount <= left:
                self._write("executed", entry.amount, entry.executor, entry.decision_id, **settled)
            elif confirmed_by != "presumed":  # somebody says that it flowed, whatever had flowed before
                self._write("executed", entry.amount, entry.executor, entry.decision_id, **settled, flags=("over_refund",))
            elif left.amount:
                self._write("executed", left, entry.executor, entry.decision_id, **settled)
            else:  # another way has brought all of it: nobody is presumed to have paid again
                self.release([entry])

    def flow(self, executor: Executor) -> None:
        """What the case claims has flowed by somebody outside, as far as it had not before; reservations make room for it."""
        file, case = self.now.file, self.now.case
        before = sum((each.amount for each in executions(file.ledger) if each.case_id == case.case_id), self._zero)
        claimed = case.claimed or file.order.amount
        if claimed <= before:
            return
        flags = ("over_refund",) if claimed - before > self._unpaid() else ()
        decision_id = child_id("dec", file.order.order_id, self.cause)
        self._write("executed", claimed - before, executor, decision_id, confirmed_by="provider", flags=flags)
        for entry, kept in self._overtaken():
            owner = {"executor": entry.executor, "decision_id": entry.decision_id, "case_id": entry.case_id}
            self._write("released", entry.amount, **owner, settles=entry.entry_id)
            if kept.amount:
                self._write("reserved", kept, **owner)

    def _write(
        self,
        kind: Literal["reserved", "executed", "released"],
        amount: Money,
        executor: Executor,
        decision_id: str | None,
        **more: Any,
    ) -> LedgerEntry:
        order_id, case_id = self.now.file.order.order_id, self.now.case.case_id
        entry = LedgerEntry(
            entry_id=child_id("lge", order_id, self.cause, case_id, str(len(self.entries))),
            kind=kind,
            amount=amount,
            decision_id=decision_id,
            executor=executor,
            at=self.now.at,
            **{"case_id": case_id, **more},
        )
        self.entries.append(entry)
        return entry

    @property
    def _zero(self) -> Money:
        return Money.zero(self.now.file.order.amount.currency)

    def _left(self, entries: Iterable[LedgerEntry]) -> Money:
        """What has not flowed yet of what was paid, new entries included."""
        paid = self.now.file.order.amount
        flowed = executed_amount((*self.now.file.ledger, *entries))
        return Money(amount=max(paid.amount - flowed, Decimal(0)), currency=paid.currency)

    def _unpaid(self) -> Money:
        """What had neither flowed yet of what was paid nor was to be paid by the platform, whose provider may be at it
        already."""
        standing = open_reservations(self.now.file.ledger)
        due = sum((entry.amount for entry in standing if entry.executor == "platform"), self._zero)
        left = self._left(())
        return left - due if due < left else self._zero

    def _overtaken(self) -> list[tuple[LedgerEntry, Money]]:
        """Refunds that were reserved and no longer fit into what is left, with what is kept of each: what the provider has
        paid nobody pays again. The platform's stand before promises of a merchant, the older before the newer. One of the
        platform's is paid whole or not at all, and told of and flagged where it was paid in the meantime; of a promise stands
        what still fits."""
        overtaken: list[tuple[LedgerEntry, Money]] = []
        left = self._left(self.entries)
        standing = open_reservations((*self.now.file.ledger, *self.entries))
        for entry in sorted(standing, key=lambda entry: entry.executor != "platform"):
            if entry.amount <= left:
                left -= entry.amount
            elif entry.executor == "platform":
                overtaken.append((entry, self._zero))
            else:
                overtaken.append((entry, left))
                left = self._zero
        return overtaken

    def _reversible(self, confirmed_by: str) -> Iterator[LedgerEntry]:
        """Executions of the case so confirmed, without presumed ones that a fact has proved."""
        file = self.now.file
        open_ones = unproved(file.ledger, file.facts)
        for entry in executions(file.ledger):
            if (entry.case_id, entry.confirmed_by) == (self.now.case.case_id, confirmed_by):
                if confirmed_by != "presumed":
                    yield entry
                elif open_ones[entry.amount]:
                    open_ones[entry.amount] -= 1
                    yield entry
