"""The broker: queues many users' workflows durably and shares the cluster among them.

Top layer of the scheduler. Inside, imports go one way as well: serving, api, then the store and the
keys, then what is decided, which is pure.
"""
