//! Who waits is woken on PostgreSQL too. (The name of this program is what tells the tests where to run.)

#[path = "waiting.rs"]
mod waiting;
