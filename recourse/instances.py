"""How many processes of each service run side by side."""

from typing import Annotated

import typer

from contracts.topics import Service

__all__ = [
    "ONE_OF_EACH",
    "TWO_GATEWAYS",
    "TWO_OF_EACH",
    "Instances",
    "InstancesOption",
    "instances_of",
    "service_names",
    "written",
]

Instances = dict[Service, int]
_MOST = 9


def instances_of(text: str) -> Instances:
    """`2`: so many of each; `gateway=2,cases=3`: so many of these, and one of each other. Raises typer.BadParameter."""
    if "=" not in text:
        return dict.fromkeys(Service, _count(text))
    given = dict.fromkeys(Service, 1)
    for one in text.split(","):
        name, _, count = one.partition("=")
        try:
            service = Service(name.strip())
        except ValueError:
            raise typer.BadParameter(f"there is no service {name!r}; name some of {', '.join(Service)}") from None
        given[service] = _count(count)
    return given


def _count(count: str) -> int:
    if not count.strip().isdecimal() or not 1 <= int(count) <= _MOST:
        raise typer.BadParameter(f"{count!r} is no number from 1 to {_MOST}; give them as in 2, or gateway=2,cases=3")
    return int(count)


def service_names(instances: Instances) -> list[str]:
    """`cases`, or `cases-1`, `cases-2` … of a service with several processes."""
    return [
        f"{service}-{number}" if count > 1 else str(service)
        for service, count in instances.items()
        for number in range(1, count + 1)
    ]


def written(instances: Instances) -> str:
    """As `instances_of` reads it."""
    return ",".join(f"{service}={count}" for service, count in instances.items())


def _option(given: str | Instances) -> Instances:
    """What is given on the command line, or the default of an option, which typer passes through here as well."""
    return instances_of(given) if isinstance(given, str) else given


InstancesOption = Annotated[
    Instances,
    typer.Option(
        parser=_option,
        metavar="N|SERVICE=N,…",
        show_default=False,
        help="Processes of each service; of some, as in gateway=2,cases=3.",
    ),
]
ONE_OF_EACH = instances_of("1")
TWO_OF_EACH = instances_of("2")
TWO_GATEWAYS = instances_of("gateway=2")
