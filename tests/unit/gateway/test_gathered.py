"""Statements that gather: one at a time, with all that was asked for meanwhile."""

import asyncio
from collections.abc import Sequence

import pytest

from services.gateway.store import Gathered


class _Statements:
    """Doubles what it is asked for, when it may."""

    def __init__(self) -> None:
        self.done: list[list[int]] = []
        self.begun = asyncio.Event()
        self.may = asyncio.Event()

    async def do(self, asked: Sequence[int]) -> Sequence[int]:
        self.done.append(list(asked))
        self.begun.set()
        await self.may.wait()
        if 0 in asked:
            raise ConnectionError("away")
        return [2 * one for one in asked]


async def test_what_is_asked_for_meanwhile_goes_out_together() -> None:
    statements = _Statements()
    gathered = Gathered(statements.do)
    first = asyncio.create_task(gathered.add(1))
    await statements.begun.wait()
    others = [asyncio.create_task(gathered.add(one)) for one in (2, 3, 4)]
    await asyncio.sleep(0)
    statements.may.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert statements.done == [[1], [2, 3, 4]]


async def test_a_statement_that_fails_fails_for_all_of_it_and_for_nobody_else() -> None:
    statements = _Statements()
    gathered = Gathered(statements.do)
    statements.may.set()
    together = [gathered.add(0), gathered.add(1)]
    assert [type(each) for each in await asyncio.gather(*together, return_exceptions=True)] == [ConnectionError] * 2
    assert await gathered.add(1) == 2


async def test_who_is_gone_keeps_nobody_from_its_result() -> None:
    statements = _Statements()
    gathered = Gathered(statements.do)
    gone, here = asyncio.create_task(gathered.add(1)), asyncio.create_task(gathered.add(2))
    await statements.begun.wait()
    gone.cancel()
    statements.may.set()
    assert await here == 4
    with pytest.raises(asyncio.CancelledError):
        await gone
