"""The bytes of evidence and of mails, in an object store: a folder, S3 or memory, as the setting says."""

from pathlib import Path
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from contracts.ids import order_of

__all__ = ["Objects"]


class Objects:
    """Evidence by order and id. An object is written once."""

    def __init__(self, url: str) -> None:
        """Raises ValueError where the address is none that the library knows."""
        place = urlsplit(url)
        self._store: ObjectStore
        if place.scheme == "file":
            self._store = LocalStore(Path(place.path), mkdir=True)
        elif place.scheme == "memory":
            self._store = MemoryStore()
        else:
            try:
                self._store = from_url(url)
            except BaseError as wrong:
                raise ValueError(str(wrong).partition("\n")[0]) from None

    @staticmethod
    def place(evidence_id: str) -> str:
        """`ord_…/evd_…`: what belongs to an order lies together."""
        return f"{order_of(evidence_id)}/{evidence_id}"

    async def put(self, evidence_id: str, content: bytes) -> None:
        """Keep the bytes; again changes nothing."""
        await self._store.put_async(self.place(evidence_id), content)

    async def remove(self, evidence_id: str) -> None:
        """Forget the bytes; what is not there is no error."""
        try:
            await self._store.delete_async(self.place(evidence_id))
        except FileNotFoundError:
            return

    async def put_mail(self, mail_id: str, content: bytes) -> None:
        """Keep a mail as it arrived; again changes nothing."""
        await self._store.put_async(f"mails/{mail_id}.eml", content)

    async def get_mail(self, mail_id: str) -> bytes:
        """The bytes of a mail. Raises FileNotFoundError."""
        found = await self._store.get_async(f"mails/{mail_id}.eml")
        return bytes(await found.bytes_async())

    async def get(self, evidence_id: str) -> bytes:
        """The bytes. Raises FileNotFoundError."""
        found = await self._store.get_async(self.place(evidence_id))
        return bytes(await found.bytes_async())
