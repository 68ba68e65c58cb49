"""Client, workflow, plan, pools, decisions, ETA, dispatcher and the backends that give workers."""
