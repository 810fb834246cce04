"""What `recourse up` decides before anything runs, and how patient it is."""

import json
import os
import stat
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from chassis.settings import SettingsError
from contracts.topics import Service
from deploy.local.errors import StackError
from deploy.local.parts import Product
from deploy.local.stack import State, read_state, write_state
from recourse import main
from recourse.instances import TWO_GATEWAYS, InstancesOption, instances_of, service_names, written
from recourse.supervisor import FIRST_PAUSE, LONGEST_PAUSE, STEADY_AFTER, Patience
from recourse.up import FIRST_GATEWAY, OWN_FILE, Own, check_clock


def test_pauses_double_and_start_again_after_a_steady_life() -> None:
    patience = Patience()
    pauses = []
    for _ in range(8):
        pause, patience = patience.after_death(lived=0.1)
        pauses.append(pause)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert patience.after_death(lived=STEADY_AFTER)[0] == FIRST_PAUSE


def test_names_of_services() -> None:
    assert service_names(instances_of("1")) == ["intake", "cases", "escalation", "notifications", "gateway"]
    assert service_names(instances_of("2"))[:4] == ["intake-1", "intake-2", "cases-1", "cases-2"]
    some = instances_of("gateway=2,cases=3")
    assert service_names(some)[:5] == ["intake", "cases-1", "cases-2", "cases-3", "escalation"]
    assert service_names(some)[-2:] == ["gateway-1", "gateway-2"]
    assert instances_of(written(some)) == some


@pytest.mark.parametrize(
    ("text", "said"), [("0", "no number from 1 to 9"), ("x", "no number"), ("gateway=", "no number"), ("mail=2", "no service")]
)
def test_wrong_numbers_of_processes_say_what_to_give(text: str, said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said):
        instances_of(text)


def test_keys_and_ports_outlive_a_restart(tmp_path: Path) -> None:
    first = Own.load(tmp_path)
    first.claim_ports(instances_of("2"), sandbox=True, port=None)
    first.save(tmp_path)
    assert stat.S_IMODE(os.stat(tmp_path / OWN_FILE).st_mode) == 0o600
    again = Own.load(tmp_path)
    again.claim_ports(instances_of("1"), sandbox=True, port=None)
    assert (again.keys, again.secret) == (first.keys, first.secret)
    assert again.ports[FIRST_GATEWAY] == first.ports[FIRST_GATEWAY]
    assert len(set(first.keys.values()) | {first.secret}) == 3
    assert len(set(first.ports.values())) == len(first.ports) == 10 + 2 + 2 + 3


def test_a_port_asked_for_is_taken_from_whoever_had_it(tmp_path: Path) -> None:
    own = Own.load(tmp_path)
    own.claim_ports(instances_of("1"), sandbox=False, port=None)
    wanted = own.ports["cases.health"]
    own.claim_ports(instances_of("1"), sandbox=False, port=wanted)
    assert own.ports[FIRST_GATEWAY] == wanted
    assert own.ports["cases.health"] != wanted


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / OWN_FILE).write_text("{")
    with pytest.raises(StackError, match="move it away"):
        Own.load(tmp_path)
    (tmp_path / "stack.json").write_text('{"broker": 1}')
    with pytest.raises(StackError, match="choose another --data"):
        read_state(tmp_path)


def test_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    state = State(
        broker=Product("kafka", "Apache Kafka", "4.1.1"),
        store=Product("secantusd-py", "SecantusDB", "1"),
        kafka_bootstrap="127.0.0.1:1",
        mongo_uri="mongodb://127.0.0.1:2",
        brokers=1,
        ports={"broker-1": 1},
    )
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert json.loads((tmp_path / "stack.json").read_text())["broker"]["version"] == "4.1.1"


@pytest.mark.parametrize(
    ("clock", "sandbox", "words"),
    [("2019-07-15T00:00:00Z", False, "needs --sandbox"), ("yesterday", True, "--clock yesterday")],
)
def test_clocks_that_are_refused(clock: str, sandbox: bool, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check_clock(clock, sandbox=sandbox)


def test_processes_are_numbered_on_the_command_line() -> None:
    app = typer.Typer()
    seen: list[str] = []

    @app.command()
    def command(instances: InstancesOption = TWO_GATEWAYS) -> None:
        seen.append(written(instances))

    for given in ([], ["--instances", "2"], ["--instances", "cases=3"]):
        assert CliRunner().invoke(app, given).exit_code == 0
    assert [instances_of(each)[Service.GATEWAY] for each in seen] == [2, 2, 1]
    assert [instances_of(each)[Service.CASES] for each in seen] == [1, 2, 3]


@pytest.mark.parametrize("port", ["0", "99999", "http"])
def test_a_port_that_is_none_is_told_before_anything_runs(port: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main.app, ["up", "--sandbox", "--port", port, "--data", str(tmp_path)])
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "--port" in result.stderr
