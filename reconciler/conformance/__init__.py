"""A suite that a driver passes or fails, for its author: `python -m reconciler.conformance NAME`.

Needs the extra `netapply[conformance]`, no root and no kernel: it makes manifests at random, of all that the driver's
options and a manifest allow, and runs them on a host in memory. docs/drivers.md says what it checks and what an author
can do to have more checked. In a test suite of one's own:

    pytest -p reconciler.conformance.plugin --pyargs reconciler.conformance --netapply-driver NAME
"""
