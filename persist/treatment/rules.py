"""Adaptive treatment: a rule that stops and restarts the drug by what is measured at visits.

The drug is stopped when the burden is under ``stop`` times its reference, and given again when it is at ``restart`` times
it or more; between the two thresholds nothing changes. The reference is the burden when the plan starts, or 1 in the unit
of the burden (absolute thresholds). The rule itself may begin later, after other pieces of the plan; it begins on drug.
Adaptive therapy of this form: Zhang et al. 2017, 10.1038/s41467-017-01968-5 (half of the first PSA, and all of it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

if TYPE_CHECKING:
    from jax import Array

    from persist.treatment.grammar import Adaptive


class Memory(NamedTuple):
    """What a rule remembers of each path, ``(n,)``: ``dose`` in force, ``reference`` (-1: none yet); its thresholds."""

    dose: Any
    reference: Any
    stop: Any
    restart: Any

    @property
    def marks(self) -> None:
        """Nothing is told at the end."""

    def given(self, planned: Any, ruled: Any, day: Any) -> Any:
        """The dose from a ``day`` on: the ``planned`` one, or that of the rule where the plan is ``ruled``."""
        return jnp.where(ruled, self.dose, planned)

    def beside(self, planned: Any, day: Any) -> Any:
        """The dose of a partner: as planned."""
        return planned

    def along(self, cells: Any, day: Any, dose: Any, course: Any, partner: Any = 0.0) -> Memory:
        """Nothing is remembered of days without a visit."""
        return self


def remember(rule: Adaptive, number: int) -> Memory:
    """The memory of so many paths when the rule begins: on drug."""
    reference = jnp.full(number, 1.0 if rule.absolute else -1.0, float)
    return Memory(jnp.ones(number), reference, jnp.asarray(rule.stop, float), jnp.asarray(rule.restart, float))


def decide(memory: Memory, measured: Array) -> Memory:
    """The memory after a visit that ``measured`` burdens ``(n,)``; the first such visit gives the reference. Where nothing
    is measured, nothing is given.
    """
    reference = jnp.where(memory.reference < 0, measured, memory.reference)
    none = measured <= 0
    stopped = jnp.where((measured < memory.stop * reference) | none, 0.0, memory.dose)
    dose = jnp.where((measured >= memory.restart * reference) & ~none, 1.0, stopped)
    return memory._replace(dose=dose, reference=reference)
