"""Jobs for workers of the bench that need nothing: a module of its own, which a spawned worker imports."""


def doubled(job, stop, tick):
    tick()
    return 2 * job
