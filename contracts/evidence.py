"""Evidence as it is referred to: the bytes stay in the object store, their hash travels (NX-14)."""

from contracts.base import Model

__all__ = ["Evidence"]


class Evidence(Model):
    """A file attached to an order or case; `sha256` is the hex digest of its bytes, `size` counts bytes."""

    evidence_id: str
    sha256: str
    size: int
    media_type: str
    name: str
    kind: str | None = None
    """What it proves, as the programme's checklists name it, e.g. `invoice`; who uploads it may say so."""
