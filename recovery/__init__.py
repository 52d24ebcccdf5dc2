"""Recovering: a lost site's systems go on at the other one, in the right order, after two people said so.

``runbook`` reads the procedure · ``survey`` asks the world · ``plan`` and ``planned_moves`` (pure) freeze what it means
now (``planned``), with what it would cost (``loss_figure``) and what waits for what (``order``) · ``gates`` (pure) says
whether a run may begin · ``run`` folds the journal into what was done · ``engine`` (pure) says what comes next ·
``steps`` is the table of everything that can be done, each ``step`` with check, do and undo · ``perform`` carries it
out, journalled before and after · ``task`` is the desk that people and the scheduler talk to · ``fencing`` sees to it
that only one site can write, and ``receiving`` that a second keeper at the other site has every commit · ``sync_task``
lets commits wait, or not · ``loss`` names what was lost.
"""
