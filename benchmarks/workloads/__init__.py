"""The workloads of ``make bench``, a module each: ``run(quick)`` returns a report."""
