"""Reading rules: what can fire here does, what cannot is told with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitors.detect.detector import Detector
from monitors.detect.rules import EventRule, load
from tests.monitors.detect.rules import KINDS, SSH, one, reference, ssh
from tests.monitors.sources.corpus import folder

EVENT = {
    "user.name": "root",
    "source.ip": "10.1.2.3",
    "source.port": 4022,
    "message": "Failed password for root from 10.1.2.3",
}


def fires(tmp_path: Path, selection: str, condition: str = "selection") -> bool:
    """Whether a rule with that selection is true of one event."""
    text = SSH.format(title="t", name="t", detection=f"  selection:\n{selection}\n  condition: {condition}")
    rules = one(tmp_path, text)
    assert rules.inactive == ()
    (rule,) = rules.rules
    assert isinstance(rule, EventRule)
    return rule.test(EVENT)


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        ("    user.name: ROOT", True),
        ("    user.name: [kim, root]", True),
        ("    user.name|cased: ROOT", False),
        ("    user.name: ro?t", True),
        ("    user.name: r*t", True),
        ("    user.name|startswith: ro", True),
        ("    user.name|endswith: x", False),
        ("    user.name|contains|all: [r, t]", True),
        ("    user.name|contains|all: [r, x]", False),
        ("    user.name|re: '^r.{2}t$'", True),
        ("    source.ip|cidr: 10.0.0.0/8", True),
        ("    source.ip|cidr: 192.0.2.0/24", False),
        ("    source.port: 4022", True),
        ("    source.port|gt: 4022", False),
        ("    source.port|gte: 4022", True),
        ("    event.outcome: null", True),
        ("    event.outcome|exists: true", False),
        ("    user.name|exists: true", True),
        ("    - 'PASSWORD FOR'", True),
        ("    - 'nothing of it'", False),
    ],
)
def test_values_and_modifiers_mean_what_sigma_says(tmp_path: Path, selection: str, wanted: bool) -> None:
    assert fires(tmp_path, selection) is wanted


def test_conditions_join_and_except(tmp_path: Path) -> None:
    selection = "    user.name: root\n  own:\n    source.ip|cidr: 10.0.0.0/8"
    assert not fires(tmp_path, selection, "selection and not own")
    assert fires(tmp_path, selection, "all of them")
    assert fires(tmp_path, selection, "1 of them")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SSH.replace("sshd", "sudo"), "no log source here is product linux, service sudo"),
        (SSH.replace("product: linux, service: sshd", "category: proxy"), "no log source here is category proxy"),
        (SSH.replace("{detection}", "  s: {{Image: x}}\n  condition: s"), "no event here has the field Image"),
        (
            SSH.replace("{detection}", "  s: {{user.name: x}}\n  e: {{Image: x}}\n  condition: s and not e"),
            "its exception cannot be decided here: no event here has the field Image",
        ),
        (
            SSH.replace("{detection}", "  s: {{user.name|expand: '%admins%'}}\n  condition: s"),
            "a placeholder in it has no value here",
        ),
        (
            SSH.replace("{detection}", "  s: {{user.name|fieldref: host.name}}\n  condition: s"),
            "values of the kind SigmaFieldReference are not supported",
        ),
    ],
)
def test_a_rule_that_can_never_fire_here_is_told_with_the_reason(tmp_path: Path, text: str, why: str) -> None:
    detection = "  s:\n    user.name: x\n  condition: s"
    rules = one(tmp_path, text.format(title="t", name="t", detection=detection))
    assert [(rule.title, rule.why) for rule in rules.inactive] == [("t", why)]
    assert rules.rules == ()


def test_a_rule_that_needs_one_of_several_fields_stays_at_work_with_those_that_are_here(tmp_path: Path) -> None:
    assert fires(tmp_path, "    user.name: root\n  other:\n    Image: x", "1 of them")


@pytest.mark.parametrize(
    ("correlation", "why"),
    [
        ("type: value_count, condition: {gte: 3, field: user.name}", "correlations of the type value_count are not"),
        ("type: event_count, condition: {lt: 3}", "of its conditions only gte and gt are supported"),
        ("type: event_count, condition: {gte: 3}, aliases: {x: {base: user.name}}", "field aliases are not supported"),
    ],
)
def test_a_correlation_that_cannot_be_carried_out_is_told(tmp_path: Path, correlation: str, why: str) -> None:
    base = SSH.format(title="base", name="base", detection="  s:\n    user.name: x\n  condition: s")
    above = f"title: above\ncorrelation: {{{correlation}, rules: [base], group-by: [source.ip], timespan: 1m}}\n"
    (told,) = one(tmp_path, f"{base}---\n{above}").inactive
    assert told.title == "above"
    assert told.why.startswith(why)


def test_what_builds_on_a_rule_that_cannot_fire_or_is_not_there_cannot_either(tmp_path: Path) -> None:
    base = SSH.replace("sshd", "sudo").format(
        title="base", name="base", detection="  s: {user.name: x}\n  condition: s"
    )
    above = "correlation: {type: event_count, rules: [%s], timespan: 1m, condition: {gte: 2}}\n"
    text = f"{base}---\ntitle: on base\n{above % 'base'}---\ntitle: on nothing\n{above % 'nobody'}"
    told = {rule.title: rule.why for rule in one(tmp_path, text).inactive}
    assert told["on base"] == "it builds on 'base', which can never fire here"
    assert "nobody" in told["on nothing"]


@pytest.mark.parametrize("text", ["", "[", "title: x", "- a\n- b", "\t", "a: &x [*x]"])
def test_a_file_that_is_no_sigma_stops_no_other_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.yml").write_text(text)
    good = SSH.format(title="good", name="good", detection="  s:\n    user.name: x\n  condition: s")
    assert [rule.told.title for rule in one(tmp_path, good).rules] == ["good"]


def test_a_folder_that_is_not_there_holds_no_rules(tmp_path: Path) -> None:
    assert load(tmp_path / "none", KINDS).rules == ()


def test_every_rule_of_the_reference_estate_can_fire() -> None:
    rules = reference()
    assert (len(rules.rules), rules.inactive) == (6, ())


def test_the_communitys_rules_for_ssh_load_and_one_of_them_fires(tmp_path: Path) -> None:
    rules = load(folder("sigma", "rules", "linux", "builtin", "sshd"), KINDS)
    assert len(rules.rules) >= 1
    detector = Detector("daejeon", rules)
    detector.take("sshd", ssh("error in libcrypto from 203.0.113.7 port 1: unexpected internal error", 0))
    assert [signal.title for signal in detector.signals(0)] == ["Suspicious OpenSSH Daemon Error"]


def test_all_of_the_communitys_web_rules_are_at_work_or_say_why_not() -> None:
    rules = load(folder("sigma", "rules", "web"), KINDS)
    assert all(rule.why for rule in rules.inactive)
    assert len({rule.told.id for rule in rules.rules}) + len(rules.inactive) >= 40
