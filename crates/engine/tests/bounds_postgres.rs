//! Everything has its bound on PostgreSQL too. (The name of this program is what tells the tests where to run.)

#[path = "bounds.rs"]
mod bounds;
