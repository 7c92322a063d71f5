"""The ``placement`` driver: OpenStack Placement is the ledger.

Placement stores providers, integer inventories, traits, consumers and
allocations.  It has no other fields, and no transaction over several of
these objects except ``PUT /allocations/{consumer}``, whose check of the
inventories does not always hold (see ``reservations``).  The ledger is laid
out so that *one* request decides each step, and so that a client that dies
after that request leaves nothing undecided.

A host is its compute node's provider, with a provider of this driver below
it, ``<host>_gpu-passthrough``, because Nova rewrites the inventory of its
own.  A unit is a provider beside that one, ``<host>_<ADDRESS>``, named as
Nova would name it.

* The *facts* of a unit (functions, group, node …) are traits (see
  ``names``): they are few, hosts of one make share them, and one PUT sets
  them all.
* The *state* of a unit is the inventory of a second resource class of its
  provider, a **state counter** (see ``state_counter``): the total counts
  each change and says which step the unit is at.  Traits cannot say that:
  ending a hold would take two requests, and a client that died between them
  would leave one consumer's step to the next consumer.  A move is one PUT of
  the inventory, with the provider's generation.
* A *claim* allocates one of the unit's class, and an amount of the state
  counter that follows from its count: an even amount is a reservation, the
  odd one above it a hold (see ``reservations``).  ``min_unit`` and
  ``max_unit`` let Placement accept nothing else.  A claim that was decided
  on an outdated count is thus refused, although an allocation names no
  generation.
* A hold *ends* when the state counter is advanced: an allocation with the
  amount of an older count holds nothing.  It is removed from the consumer's
  allocations afterwards, by any client that finds it.
* *Quarantined* and *missing* units have ``reserved`` 1; the state counter
  says which of the two.
* The request of a consumer is its ``user_id``, in this driver's own
  ``project_id``: the only texts that are written with an allocation, in one
  request.

Not used: ``POST /reshaper``, which could do more in one request but is open
to services only by default; provider names that carry facts, because no
generation guards them.

Source: https://docs.openstack.org/api-ref/placement/
"""
