//! Admit: api.
