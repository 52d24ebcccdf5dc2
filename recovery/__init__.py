"""Recovering: a lost site's systems go on at the other one, in the right order, after two people said so.

``runbook`` reads the procedure · ``plan`` (pure) freezes what it means now, with what it would cost (``planned``) ·
``gates`` (pure) says whether a run may begin · ``run`` folds the journal into what was done · ``engine`` (pure) says
what comes next · ``steps`` is the table of everything that can be done, each ``step`` with check, do and undo ·
``perform`` carries it out, journalled before and after · ``task`` is the desk that people and the scheduler talk to ·
``fencing`` sees to it that only one site can write.
"""
