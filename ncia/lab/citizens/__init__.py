"""The citizens' own ground: the front door that leads to the active site, the load, and the referee.

``front_door`` proxies · ``switch`` is where it leads · ``courier`` carries receipts of what was acknowledged to the
site that did not serve it (``spool`` keeps them until then) · ``load`` acts · ``ledger`` is what citizens remember ·
``referee`` compares that with what a recovery saved.
"""
