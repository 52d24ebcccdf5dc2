"""The independent WAL receiver: a second keeper of every commit of a synchronous system, beside its standby.

``wal`` reads names and positions, ``term`` is the folder of one primary's term, ``receiver`` keeps one
``pg_receivewal`` running, ``doors`` and ``control`` are the two ends of the socket by which a recovery run commands it.
"""
