"""Named loss: the receipts of acts that the other site served, and the list of those that did not survive it.

``wire`` is what a front door sends · ``store`` keeps it · ``ports`` is what comparing needs · ``contents`` asks the
active databases · ``desk`` is what the API and the calendar call. The report itself is ``ncia.core.reports.loss``.
"""
