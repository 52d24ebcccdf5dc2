"""The kernel: what every wing and surface stands on, and nothing of them.

Read it from the bottom up; each floor may know only those below it.

    base      errors that tell what to try, the clock, typed ids, durable databases
    estate    what we run and promise: frozen facts and pure questions about them
    journal   what happened: append-only, hashed, signed, pulled by the peer
    state     the journal folded into what is true now; always disposable
    work      when things are due: the calendar and its missed-run ledger
    alerts    from verdicts to incidents: one per fault, with its root
    reports   promised beside measured
    config    YAML into an estate, every fault at once
    requests  what people ask for, who may, and how it is signed
    views     one frozen answer per question, the same for API, console and CLI
"""
