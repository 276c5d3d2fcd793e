"""What can be told from a request about who came, from where and with what, one small module per fact.

Everything here runs in the writer thread, after the response. Nothing here is imported by the request path.
"""
