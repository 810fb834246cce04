"""The rules of the product and the tests that show them: `python -m tests.rules` writes docs/rules.md.

A test says by `@pytest.mark.rule("BP-07")` which rules it shows. What is written here of a rule is its gist."""

import contextlib
import io
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

__all__ = ["RULES", "WAITING", "collected", "missing", "page"]

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "rules.md"

RULES: Mapping[str, Mapping[str, str]] = {
    "Buyer protection": {
        "BP-01": "Sized for five million protected orders a month.",
        "BP-02": "Protected: orders of a certified merchant with its seal on the site, whose buyer asked for it.",
        "BP-03": "Covered: goods that do not arrive, refunds that do not come, a merchant that becomes insolvent.",
        "BP-04": "Thirty days, or what merchant and order agree.",
        "BP-05": "The buyer is asked seven days before the end whether all went well.",
        "BP-06": "Feedback at any time: from the page, by the mail's button, by e-mail.",
        "BP-07": "Four options; two go to the merchant, one to the platform, one ends the protection.",
        "BP-08": "The buyer may write and upload; the merchant sees both.",
        "BP-09": "A new case tells the merchant by mail and in its overview.",
        "BP-10": "The case shows order, amount, buyer's address, text and documents, and how to answer.",
        "BP-11": "The answer: yes, yes after return, no; with a message.",
        "BP-12": "The amount is prefilled with what is refundable; less is a partial refund.",
        "BP-13": "The buyer is mailed the answer and has twenty days.",
        "BP-14": "Full refund: received closes, not received is a dispute.",
        "BP-15": "Partial refund: also to be disagreed with.",
        "BP-16": "No refund: accepted ends case and protection, disagreed goes to the platform.",
        "BP-17": "The buyer's silence closes the case.",
        "BP-18": "The merchant's silence puts the case under review.",
        "BP-19": "The platform decides, seeks a solution, asks for documents.",
        "BP-20": "The merchant's overview of all cases, over several shops.",
        "BP-21": "One thread of three parties, with documents.",
        "BP-22": "The buyer sees what happens next and until when.",
        "BP-23": "Phones and eight languages.",
        "BP-24": "Process changes roll out by merchant and language on a date that was announced.",
        "BP-25": "Insolvency lets every protected buyer claim and moves open cases to review.",
        "BP-26": "A report extends the protection while its case is open.",
        "BP-27": "Yes after return: the case waits for the goods.",
    },
    "Order issues": {
        "OI-01": "Several problems on one order.",
        "OI-02": "The reason decides who handles it.",
        "OI-03": "Photos and details reach the brand.",
        "OI-04": "The order's status is reported problem; the list has a tab for it.",
        "OI-05": "Replacement, one-click refund, or contact.",
        "OI-06": "The retailer marks the issue resolved.",
        "OI-07": "What the platform handles the brand sees without actions.",
        "OI-08": "An order with an open issue is neither completed nor paid out; later refunds are netted.",
        "OI-09": "Submitted, platform reviews, in progress, resolved, rejected; only the platform rejects.",
        "OI-10": "The platform watches all issues.",
        "OI-11": "Above a rate of issues a merchant is warned, then sanctioned with reasons, then restored.",
    },
    "Returns desk": {
        "RD-01": "One universal electronic form without an account.",
        "RD-02": "Description, pictures, e-mail and phone.",
        "RD-03": "By a link for any channel, also for orders never seen.",
        "RD-04": "A sent form is a case in the seller's panel.",
        "RD-05": "The course of the case stays online after its end.",
        "RD-06": "The seller sets the status in its own words, informs, decides.",
        "RD-07": "A mail on every change.",
        "RD-08": "Consultants by kind and channel.",
        "RD-09": "A deputy takes over during an absence.",
        "RD-10": "Counts and history in one place.",
        "RD-11": "Usage is metered by shop and month.",
    },
    "Claims and service": {
        "CP-01": "The merchant's service contact is current and shown with every mail.",
        "CP-02": "The merchant sets who is notified of what.",
        "CP-03": "Chargebacks and marketplace guarantees have a procedure of their own.",
        "CP-04": "Messages from every route land in the case.",
        "CP-05": "Return information is kept current.",
        "CP-06": "Facts attach themselves to a dispute.",
        "CP-07": "A decision matrix by money, with caps.",
        "CP-08": "The merchant's contact is reached from every page and mail.",
    },
    "What none of them has": {
        "NX-01": "Every deadline explains itself, silence included.",
        "NX-02": "The state machine of a programme is data.",
        "NX-03": "What is not listed as allowed is refused.",
        "NX-04": "Every action can be previewed.",
        "NX-05": "A test clock plays whole lives deterministically.",
        "NX-06": "One refund ledger per order; nothing is paid twice.",
        "NX-07": "Policies are versioned and pinned to a case.",
        "NX-08": "Time in which a party could not act is added to its deadline.",
        "NX-09": "Thousands of cases are handled as a group.",
        "NX-10": "A fair issue rate: what was not the merchant's fault does not count.",
        "NX-17": "Deadlines inside an absence are forecast.",
        "NX-18": "A rule is tried on past cases before it goes live.",
    },
}
ALL_OF_IT = "all of it"
WAITING: Mapping[str, str] = {
    "BP-20": "the coloured label",
    "BP-23": ALL_OF_IT,
    "OI-04": "the tab and the column of the orders list",
    "RD-10": "the view",
}
"""What of a rule lives on the pages, which are not built yet. What is left of it is shown by tests like any other rule."""
LATER = {"NX-11", "NX-12", "NX-13", "NX-14", "NX-15", "NX-16"}
"""Rules that tests may name already and that are not complete yet."""

Shown = Mapping[str, Mapping[str, list[str]]]
"""Tests by file, by rule."""


class _Collector:
    """Notes which rules each collected test carries."""

    def __init__(self) -> None:
        self.shown: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            path = item.path.relative_to(ROOT).as_posix()
            name = getattr(item, "originalname", None) or item.name
            for marker in item.iter_markers("rule"):
                for rule in marker.args:
                    if name not in self.shown[rule][path]:
                        self.shown[rule][path].append(name)


def collected() -> Shown:
    """All tests of the repository by the rules that they carry. Raises RuntimeError where they cannot be collected."""
    collector = _Collector()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = pytest.main(["--collect-only", "-q", str(ROOT / "tests")], plugins=[collector])
    if status != 0:
        sys.stderr.write(said.getvalue()[-2_000:])
        raise RuntimeError(f"the tests cannot be collected: {status!r}")
    return collector.shown


def _all() -> Iterator[str]:
    for rules in RULES.values():
        yield from rules


def missing(shown: Shown) -> list[str]:
    """The rules that no test shows, but for those that live on the pages as a whole."""
    return [rule for rule in _all() if not shown.get(rule) and WAITING.get(rule) != ALL_OF_IT]


def page(shown: Shown) -> str:
    """docs/rules.md."""
    parts = [
        "# Rules and the tests that show them",
        "Made from the tests by `python -m tests.rules`; a test compares them, and fails when a rule has no test. What is said "
        "of a rule here is its gist. A test names its rules by `@pytest.mark.rule`.",
    ]
    if open_ones := missing(shown):
        parts.append(f"**Open, no test yet:** {', '.join(open_ones)}")
    for title, rules in RULES.items():
        parts.append(f"## {title}")
        parts.append("\n".join(["| rule | what | shown by |", "|---|---|---|", *_rows(rules, shown)]))
    return "\n\n".join(parts) + "\n"


def _rows(rules: Mapping[str, str], shown: Shown) -> Iterator[str]:
    for rule, gist in rules.items():
        tests = "<br>".join(f"`{path}`: {', '.join(names)}" for path, names in sorted(shown.get(rule, {}).items()))
        waits = f"waiting for the pages: {WAITING[rule]}" if rule in WAITING else ""
        yield f"| {rule} | {gist} | {'<br>'.join(each for each in (tests, waits) if each) or '**none**'} |"


def _main(arguments: list[str]) -> int:
    """Write the page; with `--check` only say what is wrong. 1 where something is."""
    found = collected()
    wrong = [f"{rule} has no test" for rule in missing(found)]
    unknown = sorted(set(found) - set(_all()) - LATER)
    wrong += [f"{rule} is no rule of the product" for rule in unknown]
    if "--check" not in arguments:
        PAGE.write_text(page(found), "utf-8")
    elif PAGE.read_text("utf-8") != page(found):
        wrong.append("docs/rules.md is not of today: python -m tests.rules")
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
