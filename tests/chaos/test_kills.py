"""A small play while services are killed and broker and store restart ends as an undisturbed one, and nothing is lost or
done twice. The large form is `recourse bench chaos`."""

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chassis.settings import Settings
from contracts.topics import Service
from deploy.local import Stack
from deploy.local.choice import BrokerKind
from recourse.benching.chaos import BROKER, STORE, blows, compared, disturbed_play
from recourse.instances import ONE_OF_EACH, TWO_OF_EACH, Instances
from recourse.replay import play, starting_clock
from recourse.sandbox import Sandbox, own_sandbox
from recourse.verification.whole import verify_all
from simulator.generator import generate

ORDERS, KILLS, SEED = 40, 10, 5
BATCH = generate(ORDERS, SEED)


@contextmanager
def sandbox(stack: Stack, folder: Path, instances: Instances) -> Iterator[tuple[Sandbox, Settings]]:
    """A sandbox on the session's broker and store, in a namespace of its own."""
    namespace = f"chaos-{uuid.uuid4().hex[:6]}-"
    environment = {
        "RECOURSE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "RECOURSE_MONGO_URI": stack.mongo_uri,
        "RECOURSE_NAMESPACE": namespace,
    }
    settings = Settings(kafka_bootstrap=stack.kafka_bootstrap, mongo_uri=stack.mongo_uri, namespace=namespace)
    with own_sandbox(folder, starting_clock(BATCH), instances=instances, environment=environment) as running:
        yield running, settings


@pytest.mark.timeout(600)
async def test_a_play_under_kills_and_restarts_ends_as_one_without(stack: Stack, tmp_path: Path) -> None:
    with sandbox(stack, tmp_path / "undisturbed", instances=ONE_OF_EACH) as (quiet, settings):
        undisturbed, _, _ = await play(quiet, BATCH, SEED)
        assert undisturbed.surprises == []
        assert (await verify_all(settings, tmp_path / "undisturbed" / "payments"))["violations"] == []

    def restart(part: str) -> None:
        if part == BROKER:
            stack.restart_broker(kill=True)
        else:
            stack.restart_store(kill=True)

    # A broker that keeps its topics in memory only has nothing to come back with.
    restarts = (STORE,) if stack.broker.kind == BrokerKind.TANSU else (BROKER, STORE)
    restarts = restarts if "RECOURSE_KAFKA_BOOTSTRAP" not in os.environ else ()
    with sandbox(stack, tmp_path / "disturbed", instances=TWO_OF_EACH) as (shaken, settings):
        plan = blows(BATCH, SEED, list(shaken.ready()["services"]), KILLS, restarts=restarts)
        disturbed, _, _, struck = await disturbed_play(shaken, BATCH, SEED, plan, restart)
        assert struck.keys() >= set(Service)
        # The play may be over before the last of them: a slow restart delays those behind it.
        assert sum(struck.values()) >= KILLS + len(restarts) - 3
        found = await verify_all(settings, tmp_path / "disturbed" / "payments")
    assert found["violations"] == []
    assert disturbed.orders == ORDERS
    assert compared(undisturbed, disturbed) == []
    assert Counter(disturbed.cases.values()) == Counter(undisturbed.cases.values())
