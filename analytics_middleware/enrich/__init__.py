"""What a request tells about its visitor: who, from where and with what device; one small module per fact.

It is worked out in the writer thread, after the response. Only what the response depends on is worked out within the
request: whether the visitor gets a cookie.
"""
