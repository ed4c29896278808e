//! Admit: engine.
