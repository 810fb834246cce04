"""SecantusDB, a MongoDB-protocol store on WiredTiger: the native server built with Cargo, or the wheel's."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.local.cache import cache_dir, locked
from deploy.local.choice import StoreKind
from deploy.local.errors import FetchError
from deploy.local.parts import ProcessPart, Product, Say
from deploy.local.process import Launch, tail

CRATE, CRATE_VERSION = "secantus-mdb", "0.5.3-beta.193"
DISTRIBUTION, WHEEL = "secantusdb", "secantus"


def native_binary() -> Path:
    """Where the built server lies in the user's cache; it may not exist."""
    return cache_dir() / "secantus" / CRATE_VERSION / "bin" / "secantusd-rs"


def wheel_installed() -> bool:
    """Whether the server in a wheel can be imported here."""
    return importlib.util.find_spec(WHEEL) is not None


def build(say: Say) -> Path:
    """Builds the native server into the user's cache with Cargo (about five minutes); at once when it is there.

    Errors: FetchError without Cargo or when the build fails, with Cargo's words.
    """
    binary = native_binary()
    root = binary.parent.parent
    with locked(root):
        if binary.is_file():
            return binary
        cargo = shutil.which("cargo")
        if cargo is None:
            raise FetchError(f"Cargo is not installed; install Rust to build {CRATE}, or use the wheel's store")
        say(f"building {CRATE} {CRATE_VERSION} with Cargo (once, about 5 minutes) …")
        partial, log = root / "part", root / "cargo.log"
        shutil.rmtree(partial, ignore_errors=True)
        with log.open("wb") as output:
            done = subprocess.run(
                [
                    cargo, "install", CRATE, "--version", CRATE_VERSION, "--ignore-rust-version", "--no-track",
                    "--root", str(partial),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "CARGO_TARGET_DIR": str(root / "target"), "CARGO_TERM_COLOR": "never"},
                check=False,
            )  # fmt: skip
        built = partial / "bin" / binary.name
        if done.returncode != 0 or not built.is_file():
            raise FetchError(f"Cargo could not build {CRATE}. Its words ({log}):\n{tail(log)}")
        binary.parent.mkdir(parents=True, exist_ok=True)
        built.replace(binary)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(root / "target", ignore_errors=True)
    return binary


@dataclass(frozen=True)
class Secantus(ProcessPart):
    """The native or the wheel's server, as `kind` says, with its data in `home`."""

    kind: StoreKind
    home: Path
    logs: Path
    port: int

    @property
    def product(self) -> Product:
        if self.kind is StoreKind.SECANTUSD_RS:
            return Product(self.kind, "secantusd-rs", CRATE_VERSION)
        return Product(self.kind, "SecantusDB (wheel)", importlib.metadata.version(DISTRIBUTION))

    @property
    def address(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def prepare(self, say: Say) -> None:
        pass

    def launches(self) -> Sequence[Launch]:
        server = (
            [str(native_binary())]
            if self.kind is StoreKind.SECANTUSD_RS
            else [sys.executable, "-c", "from secantus.cli import main; raise SystemExit(main())"]
        )
        return [
            Launch(
                name="store",
                command=[
                    *server, "--host", "127.0.0.1", "--port", str(self.port), "--storage-path", str(self.home),
                    "--cache-size", "512M", "--log-level", "WARNING",
                    # Without it a kill -9 loses documents that were acknowledged.
                    "--sync-on-commit",
                ],
                cwd=self.home,
                log=self.logs / "store.log",
            )
        ]  # fmt: skip

    def serving(self) -> bool:
        return answers(self.address)


def answers(uri: str, timeout: float = 2.0) -> bool:
    """Whether a store answers a ping at this URI within `timeout` seconds."""
    return server_version(uri, timeout) is not None


def server_version(uri: str, timeout: float = 2.0) -> str | None:
    """The version a store calls its own; None when nobody answers within `timeout` seconds."""
    limit = int(timeout * 1000)
    try:
        with MongoClient(uri, serverSelectionTimeoutMS=limit, connectTimeoutMS=limit, socketTimeoutMS=limit) as client:
            return str(client.admin.command("buildInfo").get("version", ""))
    except PyMongoError:
        return None
