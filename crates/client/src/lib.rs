//! Admit: client.
