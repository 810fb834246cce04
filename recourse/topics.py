"""Creates the topics that are missing: `python -m recourse.topics`, once before the services of a deployment start."""

import asyncio

import typer
from aiokafka.errors import KafkaError
from pymongo.errors import PyMongoError

from chassis.kafka import ensure_topics
from chassis.settings import Settings, SettingsError
from recourse.failing import failing_clearly


def topics() -> None:
    """Create what is missing at RECOURSE_KAFKA_BOOTSTRAP; at once when all are there."""
    with failing_clearly(SettingsError, KafkaError, PyMongoError):
        asyncio.run(ensure_topics(Settings.from_environment()))


if __name__ == "__main__":
    # Without the frames of pretty exceptions, which a log file only makes harder to read.
    alone = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    alone.command()(topics)
    alone()
