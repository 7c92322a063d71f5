"""The ``placement`` driver: OpenStack Placement is the ledger.

Placement has providers, integer inventories, traits, consumers and
allocations; it has no field for anything else, and no transaction over
several of them but one: ``PUT /allocations/{consumer}``, whose check of what
there is does not always hold (``reservations``).  What the ledger
knows is laid out so that each step has *one* request that decides it, and
so that whatever dies after that request left nothing undecided.

A host is its compute node's provider, and below it a provider of ours,
``<host>_gpu-passthrough``: Nova rewrites the inventory of its own.  A unit
is a provider next to that, ``<host>_<ADDRESS>``, as Nova would name it.

* *Facts* (functions, group, node …) are traits of the unit (``names``):
  they are few, hosts of one make share them, and one PUT sets them all.
* *State* is the inventory of a second class on the unit, a **lease**
  (``state_counter``): its total counts each change and says which step the
  unit is at.  Traits cannot say it: ending a hold would be two requests, and a
  death between them would leave the step of one consumer to the next.  A
  move is one PUT of the inventory, with the provider's generation.
* A *claim* takes one of the unit's class, and an amount of the lease that
  its count gives: an even one is a bid, the odd one after it a hold
  (``reservations``).  Nothing else is accepted (``min_unit`` and
  ``max_unit`` say so).  A claim that was decided on what is no longer so is
  thus refused, although an allocation names no generation.
* A hold *ends* when the lease counts on: an allocation of an older count
  holds nothing.  Taking that out of the consumer's allocations comes after,
  and is done by whoever meets it.
* *Quarantine* and *missing* are ``reserved`` 1, and the lease says which.
* What a consumer asked for is its ``user_id``, below our ``project_id``:
  the only texts that are written with an allocation, in one request.

Not taken: ``POST /reshaper``, which could do more in one request, and
which only services may call by default; provider names that carry facts,
which no generation guards.

Source: https://docs.openstack.org/api-ref/placement/
"""
