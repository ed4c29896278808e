//! Admit: sim.
