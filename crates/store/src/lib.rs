//! Admit: store.
