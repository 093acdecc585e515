"""Our own linearizability checker: histories, models, the search, and cheap checks beside it.

history.py          what clients saw: operations with their times and results
models.py           what a correct object does: register, append list, counter
checker.py          check_history: is there an order that explains everything seen?
counterexample.py   makes a violation small and readable
quick.py            checks in O(n log n) that need no search, for histories of any length
generate.py         random correct histories, for the checker's own tests
"""
