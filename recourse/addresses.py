"""Where a command finds the broker and the store."""

import os
from pathlib import Path

from chassis.settings import Settings
from deploy.local import Stack, StackError, attach_stack
from deploy.local.choice import BrokerKind


def settings_on(stack: Stack, namespace: str = "", instance: str = "") -> Settings:
    """Settings of who works on a stack at hand, whatever the environment says."""
    return Settings(
        kafka_bootstrap=stack.kafka_bootstrap,
        mongo_uri=stack.mongo_uri,
        namespace=namespace,
        instance=instance,
        kafka_idempotent=stack.broker.kind != BrokerKind.TANSU,
    )


def settings_of(data: Path) -> Settings:
    """Settings with the addresses of the environment, else those of the stack in the data folder.

    Errors: SettingsError for a setting that cannot be read, StackError where no stack was ever started or it does not run.
    """
    environment = dict(os.environ)
    if not (environment.get("RECOURSE_KAFKA_BOOTSTRAP") and environment.get("RECOURSE_MONGO_URI")):
        stack = attach_stack(data)
        if silent := [part for part, serves in stack.serving().items() if not serves]:
            raise StackError(f"no answer from the {' and the '.join(silent)} of {data}; `recourse stack start --data {data}`")
        environment |= {"RECOURSE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap, "RECOURSE_MONGO_URI": stack.mongo_uri}
    return Settings.from_environment(environment)
