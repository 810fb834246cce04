"""HEAD on every address that has GET (RFC 9110): the same answer without its content, and named wherever methods are."""

from litestar.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["with_head"]

_NO_CONTENT: Message = {"type": "http.response.body", "body": b"", "more_body": False}


def with_head(app: ASGIApp) -> ASGIApp:
    """The application, asked for the GET behind a HEAD."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, _with_head(value) if name.lower() == b"allow" else value) for name, value in message["headers"]
                ]
            elif is_head and message["type"] == "http.response.body":
                if message.get("more_body", False):
                    return
                message = _NO_CONTENT
            await send(message)

        await app({**scope, "method": "GET"} if is_head else scope, receive, told)

    return answer


def _with_head(allow: bytes) -> bytes:
    methods = [each.strip() for each in allow.split(b",")]
    return b", ".join([*methods, b"HEAD"]) if b"GET" in methods else allow
