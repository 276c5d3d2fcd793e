"""What can be told from a request about who came, from where and with what, one small module per fact.

It is worked out in the writer thread, after the response. The request itself asks only for what its answer depends
on: whether the visitor gets a cookie.
"""
