"""The pages that problem types name."""

from litestar import Response, get
from litestar.params import FromPath

from contracts.problems import Problem
from services.gateway.documented import documented
from services.gateway.problems import EXPLAINED, ProblemError, explanation_page
from services.gateway.requests import AnyRequest
from services.gateway.shown.values import HTML

__all__ = ["routes"]


@get(
    "/problems/{name:str}",
    operation_id="explainProblem",
    summary="What a type of problem means and what to do",
    media_type="text/html",
    opt=documented(answers={200: "A page."}, public=True, page=True, gives=HTML),
)
async def explain_problem(request: AnyRequest, name: FromPath[str]) -> Response[str]:
    """Open to everybody."""
    if name not in EXPLAINED:
        raise ProblemError(Problem.not_found("type of problem"))
    headers = {"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}
    return Response(explanation_page(name), media_type="text/html", headers=headers)


routes = (explain_problem,)
