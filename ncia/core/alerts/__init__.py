"""Incidents: one per fault, with its root named, by a pure function over the estate's graph and the evidence.

``evidence`` is what is known now, ``words`` the phrases that agents and diagnoses share, ``incidents`` the diagnosis.
"""
