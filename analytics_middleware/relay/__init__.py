"""Recording in the worker: web processes note facts, and one process on the host makes events of them.

Where ``background=False`` leaves delivery to ``analytics-middleware worker``, the rest of the work goes there, too, as
long as a worker runs: enrichment, processors, encoding and the log. Without one each process records by itself.
"""
