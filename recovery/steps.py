"""The closed table of everything a run can do: each kind of step with its check, its do, and its undo or why none.

Check looks whether the step is done already and changes nothing. Do does it once and comes back when it is so; it may
be done again. A step raises :class:`Refusal` where a person is needed, any other :class:`NciaError` where it may be
tried again.
"""

from __future__ import annotations

from collections.abc import Mapping

from recovery.kinds import PAIR_KINDS, RETURN_KINDS
from recovery.receiver_steps import drain_receiver, follow_again, is_drained
from recovery.run_steps import (
    close_run,
    confirmations_over,
    hold_confirmations,
    lease_gone,
    open_run,
    resume_confirmations,
    run_is_closed,
    run_is_open,
    wait_for_lease,
    withdraw_run,
)
from recovery.step import Scope, StepKind
from recovery.system_steps import (
    claim,
    clear_synchronous,
    gate_is_fresh,
    is_claimed,
    is_primary,
    only_doing_shows,
    promote,
    refresh_gate,
    seen_from_outside,
    switch_traffic,
    traffic_is_here,
    verify_application,
    verify_outside,
    waits_for_nobody,
)

KINDS: Mapping[str, StepKind] = {
    kind.name: kind
    for kind in (
        *RETURN_KINDS,
        *PAIR_KINDS,
        StepKind(
            "fence",
            Scope.RUN,
            "Wait until the lost site's lease is gone, as the majority sees it.",
            10.0,
            lease_gone,
            wait_for_lease,
            no_undo="it only waits",
        ),
        StepKind(
            "hold_confirmations",
            Scope.RUN,
            "Our own warden stops confirming the lost site; wait until its last confirmation has lapsed.",
            0.1,
            confirmations_over,
            hold_confirmations,
            resume_confirmations,
        ),
        StepKind(
            "open_run",
            Scope.RUN,
            "Write into etcd that this run is open against the lost site.",
            0.05,
            run_is_open,
            open_run,
            withdraw_run,
            follows=("fence", "hold_confirmations"),
        ),
        StepKind(
            "drain_receiver",
            Scope.SYSTEM,
            "Stop the WAL receiver here and give the copy all that it holds; refuse where the copy cannot replay it.",
            0.3,
            is_drained,
            drain_receiver,
            follow_again,
            follows=("fence", "hold_confirmations", "open_run"),
        ),
        StepKind(
            "claim_epoch",
            Scope.SYSTEM,
            "Raise the system's epoch in etcd by compare-and-swap, only if the lost site's lease is gone.",
            0.05,
            is_claimed,
            claim,
            no_undo="an epoch only rises; going back is a fail-back, with a higher one",
            follows=("fence", "hold_confirmations", "open_run"),
        ),
        StepKind(
            "refresh_gate",
            Scope.SYSTEM,
            "Our own warden reads the epochs anew, so that our gate lets the system write.",
            0.05,
            gate_is_fresh,
            refresh_gate,
            no_undo="the gate follows the epoch",
            follows=("claim_epoch|claim_held",),
        ),
        StepKind(
            "promote",
            Scope.SYSTEM,
            "Make the copy here the primary.",
            0.1,
            is_primary,
            promote,
            no_undo="a promoted copy has a history of its own; making it a copy again is a rewind, at fail-back",
            follows=("claim_epoch|claim_held", "drain_receiver|drain"),
        ),
        StepKind(
            "clear_synchronous",
            Scope.SYSTEM,
            "Let commits wait for nobody, since the partner is lost; the time unprotected begins.",
            0.05,
            waits_for_nobody,
            clear_synchronous,
            no_undo="the requirement comes back with a partner, at fail-back",
            follows=("promote",),
        ),
        StepKind(
            "verify_application",
            Scope.SYSTEM,
            "Do a real, marked transaction in the application here.",
            0.3,
            only_doing_shows,
            verify_application,
            no_undo="the transaction is marked as ours and harms nobody",
            follows=("refresh_gate", "promote", "clear_synchronous|require_partner"),
        ),
        StepKind(
            "switch_traffic",
            Scope.SYSTEM,
            "The front door sends the system's citizens here.",
            0.05,
            traffic_is_here,
            switch_traffic,
            no_undo="the old site does not serve it any more, and the front door follows the epoch",
            follows=("verify_application",),
        ),
        StepKind(
            "verify_outside",
            Scope.SYSTEM,
            "Read through the citizens' entry and see that the new site answers.",
            0.1,
            seen_from_outside,
            verify_outside,
            no_undo="it only reads",
            follows=("switch_traffic",),
        ),
        StepKind(
            "close_run",
            Scope.RUN,
            "Take the run out of etcd; the lost site may take its lease again, without the systems that moved.",
            0.05,
            run_is_closed,
            close_run,
            no_undo="a closed run is history",
            follows=("open_run",),
        ),
    )
}
