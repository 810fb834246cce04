"""The command line: puts the verbs together; each is a module of its own."""

import typer

from recourse import bench, dlq, stack
from recourse.demo import demo
from recourse.replay import replay
from recourse.run import run
from recourse.up import up
from recourse.verify import verify

app = typer.Typer(
    name="recourse",
    help="A way back for every online order: buyer, merchant and platform reach a fair, documented, timely end.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(run)
app.command()(demo)
app.command()(replay)
app.command()(verify)
app.add_typer(bench.app, name="bench")
app.add_typer(dlq.app, name="dlq")
app.add_typer(stack.app, name="stack")

if __name__ == "__main__":
    app()
