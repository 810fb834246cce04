"""What a process is told from outside, by environment variables."""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from urllib.parse import urlsplit

from contracts.base import parse_moment

T = TypeVar("T")

__all__ = ["Settings", "SettingsError"]


class SettingsError(Exception):
    """A setting is missing or cannot be read; the text says which and what to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each field is read from `RECOURSE_<FIELD IN CAPITALS>`."""

    kafka_bootstrap: str
    """`host:port[,host:port]` of the broker."""
    mongo_uri: str
    """The address of the store, as MongoDB's drivers take it."""
    namespace: str = ""
    """Prefix of topics, consumer groups and databases: several stacks can share a broker and a store."""
    instance: str = ""
    """This process among those of its service, e.g. `cases-2`."""
    health_port: int = 0
    """Port of `/health` and `/metrics` on loopback; 0 takes a free one."""
    kafka_idempotent: bool = True
    """False for a broker without InitProducerId (Tansu)."""
    sandbox: bool = False
    """The clock stands still until it is moved, and the routes that move it exist."""
    clock: datetime | None = None
    """Where the sandbox's clock starts the first time; the real time by default."""
    http_port: int = 8080
    http_host: str = "127.0.0.1"
    """Where a gateway serves the API and the pages."""
    base_url: str = "http://127.0.0.1:8080"
    """The public address that links in mails begin with."""
    smtp_url: str = "smtp://127.0.0.1:1025"
    """`smtp://[user:password@]host:port` or `smtps://…`."""
    mail_from: str = "Recourse <no-reply@recourse.example>"
    reply_domain: str = ""
    """The domain whose mails are the product's own: what is answered comes back to it. By default that of `mail_from`."""
    platform_mailbox: str = ""
    """Who leads the platform's team and is reminded of cases that it has not decided in its own time (BP-19). Without it such a
    reminder stands in the case's history alone."""
    inbound_host: str = "127.0.0.1"
    inbound_port: int = 0
    """Where a gateway takes mails by SMTP, from the mail server in front of it; 0: it takes none."""
    inbound_authserv: str = ""
    """The name under which that server writes Authentication-Results, as it strips those of others. Without it no sender is
    proved, and mails that answer none of ours open no case by themselves."""
    mailsink_url: str = ""
    """The sandbox's mail server, asked for what arrived."""
    payments_url: str = ""
    """Who executes refunds of the platform: `http[s]://[user:password@]host[:port][/path]`; without it they stay reserved."""
    platform_key: str = ""
    """The platform's own key. A gateway does not start without it."""
    partner_key: str = ""
    """The key of the first partner; others are made by the API."""
    secret: str = ""
    """Signs links, forms, reply addresses and Message-IDs, and makes keys and the digests of buyers: the same for all services,
    and for ever, as with another one all of these are void."""
    evidence_url: str = "memory:///"
    """Where evidence is kept: `file:///…`, `s3://…` or `memory:///`."""
    programmes: str = ""
    """A folder with programmes of the operator's own, one YAML file a version; they stand beside those of the product."""
    log_level: str = "INFO"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises SettingsError."""
        given: dict[str, object] = {}
        for name, kind in cls.__annotations__.items():
            text = environment.get(f"RECOURSE_{name.upper()}")
            if text is None or (text == "" and kind is not str):
                continue
            try:
                given[name] = _FORMS.get(name, _READERS[kind])(text)
            except ValueError as wrong:
                raise SettingsError(f"RECOURSE_{name.upper()}={text!r}: {wrong}") from None
        for name in ("kafka_bootstrap", "mongo_uri"):
            if not given.get(name):
                raise SettingsError(f"set RECOURSE_{name.upper()}; `recourse stack start` prints addresses")
        return cls(**given)  # type: ignore[arg-type]

    def require(self, *names: str) -> None:
        """Raises SettingsError where one of these fields is empty that a service cannot do without."""
        if missing := [f"RECOURSE_{name.upper()}" for name in names if not getattr(self, name)]:
            raise SettingsError(f"set {' and '.join(missing)}")

    def read(self, name: str, reader: Callable[[str], T]) -> T:
        """What `reader` makes of a field. Raises SettingsError where it raises ValueError."""
        try:
            return reader(getattr(self, name))
        except ValueError as wrong:
            raise SettingsError(f"RECOURSE_{name.upper()}: {wrong}") from None

    def prefixed(self, name: str) -> str:
        """The name of a topic, group or database within this namespace."""
        return f"{self.namespace}{name}"


def _read_bool(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("give 1 or 0")
    return text == "1"


def _read_port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise ValueError("a port is a number from 0 to 65535")
    return int(text)


def _read_addresses(text: str) -> str:
    for address in text.split(",") if text else ():
        place = urlsplit(f"//{address.strip()}")
        if not place.hostname or place.port == 0 or place.username is not None or place.path or place.query or place.fragment:
            raise ValueError("give host:port[,host:port]")
    return text


def _read_namespace(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,40}", text):
        raise ValueError("give up to 40 letters, digits, - and _: it begins the names of topics and of databases")
    return text


def _read_level(text: str) -> str:
    if text.upper() not in logging.getLevelNamesMapping():
        raise ValueError("give DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return text


_READERS = {str: str, int: _read_port, bool: _read_bool, datetime | None: parse_moment}
_FORMS: Mapping[str, Callable[[str], object]] = {
    "kafka_bootstrap": _read_addresses,
    "namespace": _read_namespace,
    "log_level": _read_level,
}
"""Texts of which not every one will do."""
